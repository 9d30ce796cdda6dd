"""Health check of a container: request `/health/live` from the roles that listen.

For the other roles, a running process is sufficient.
"""

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
    with urllib.request.urlopen(request, timeout=4) as response:  # noqa: S310 # own URL # nosec B310
        sys.exit(0 if response.status == 200 else 1)
