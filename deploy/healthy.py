"""The container's health: what listens answers; of the other roles their process is proof."""

import os
import sys
import urllib.request

PORTS = {"web": ("PORT", "8000"), "stream": ("STREAM_PORT", "9000")}
role = os.environ.get("ROLE", "web")
if role in PORTS:
    port = os.environ.get(*PORTS[role])
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/health/live", headers={"Host": "localhost"}
    )
    with urllib.request.urlopen(request, timeout=4) as answer:  # noqa: S310
        sys.exit(0 if answer.status == 200 else 1)
