"""The container's health: the web answers; of the other roles their process is proof."""

import os
import sys
import urllib.request

if os.environ.get("ROLE", "web") == "web":
    port = os.environ.get("PORT", "8000")
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/health/live", headers={"Host": "localhost"}
    )
    with urllib.request.urlopen(request, timeout=4) as answer:
        sys.exit(0 if answer.status == 200 else 1)
