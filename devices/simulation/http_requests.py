"""Send the HTTP requests of a simulated device."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from devices.simulation.run_statistics import NETWORK, RunStatistics


async def send_request(
    http: aiohttp.ClientSession,
    tally: RunStatistics,
    kind: str,
    method: str,
    url: str,
    body: Any,
    *,
    token: str,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Any, float]:
    """Send a request and count it under its kind.

    Args:
        http: The session that sends the request.
        tally: The statistics of the run.
        kind: The name of the request in the statistics.
        method: The HTTP method.
        url: The absolute URL.
        body: A PNG image as bytes, a JSON value, or None.
        token: The bearer token.
        headers: Additional headers.

    Returns:
        The status, the decoded body of a successful response, and the seconds to wait
        before the next request. Without a response, the status is `NETWORK`.
    """
    is_image = isinstance(body, bytes)
    all_headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "image/png" if is_image else "application/json",
        **(headers or {}),
    }
    data = body if is_image or body is None else json.dumps(body).encode()
    clock = asyncio.get_running_loop().time
    started = clock()
    try:
        async with http.request(method, url, data=data, headers=all_headers) as response:
            text = await response.text()
            status = response.status
            retry_after = response.headers.get("Retry-After", "")
        content = json.loads(text) if text and status < 400 else None
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        tally.count_request(kind, NETWORK, clock() - started)
        return NETWORK, None, 0.0
    tally.count_request(kind, status, clock() - started)
    must_wait = status in (429, 503) and retry_after.isdecimal()
    return status, content, float(retry_after) if must_wait else 0.0
