"""One request of a simulated box, and how long it took."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from devices.simulation.tally import NETWORK, Tally


async def asked(
    http: aiohttp.ClientSession,
    tally: Tally,
    kind: str,
    what: tuple[str, str],
    body: Any,
    *,
    token: str,
    more: Mapping[str, str] | None = None,
) -> tuple[int, Any, float]:
    """Send a request and note it under its kind.

    Args:
        what: method and address.
        body: a picture as bytes, JSON, or None.
        more: headers.

    Returns:
        The status, `NETWORK` without an answer; what it says; and for how many seconds
        the box is to leave the server alone.
    """
    picture = isinstance(body, bytes)
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "image/png" if picture else "application/json",
        **(more or {}),
    }
    data = body if picture or body is None else json.dumps(body).encode()
    clock = asyncio.get_running_loop().time
    begun = clock()
    try:
        async with http.request(*what, data=data, headers=headers) as answer:
            text = await answer.text()
            status, pause = answer.status, answer.headers.get("Retry-After", "")
        told = json.loads(text) if text and status < 400 else None
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        tally.note(kind, NETWORK, clock() - begun)
        return NETWORK, None, 0.0
    tally.note(kind, status, clock() - begun)
    is_told_to_wait = status in (429, 503) and pause.isdecimal()
    return status, told, float(pause) if is_told_to_wait else 0.0
