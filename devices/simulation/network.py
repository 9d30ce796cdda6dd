"""The network of a simulated fleet: connections that all devices share, and that are bad.

The connections are those of aiohttp, because httpx needs more than a core for two thousand
devices: its pool looks at all connections for each request.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import aiohttp
from provisioning_agent.http import NO_RESPONSE, ConnectionLost, Http, Response, Stream

from devices.simulation.run_statistics import RunStatistics

INTERRUPTION_PROBABILITY = 0.1  # of each download
LOST = (aiohttp.ClientError, TimeoutError, OSError)


@dataclass(frozen=True, slots=True)
class Network:
    """The connections of a fleet.

    Attributes:
        url: address of the server.
        http: shared by all devices, as behind a proxy.
        streams: each device has its own push connection besides the shared ones.
    """

    url: str
    http: aiohttp.ClientSession
    streams: aiohttp.ClientSession
    tally: RunStatistics


class SimulatedStream(Stream):
    """A response of aiohttp.

    Args:
        is_interrupted: the connection is lost after the first part.
    """

    def __init__(self, response: aiohttp.ClientResponse, *, is_interrupted: bool) -> None:
        self.source, self.is_interrupted = response, is_interrupted
        self.status, self.headers = response.status, _lower_case(response.headers)

    async def lines(self) -> AsyncIterator[str]:
        try:
            async for line in self.source.content:
                yield line.decode().rstrip("\r\n")
        except LOST as error:
            raise ConnectionLost from error

    async def parts(self) -> AsyncIterator[bytes]:
        try:
            async for part in self.source.content.iter_chunked(1 << 16):
                yield part
                if self.is_interrupted:
                    raise ConnectionLost
        except LOST as error:
            raise ConnectionLost from error


class SimulatedHttp(Http):
    """The requests of one device, which are counted. Some of its downloads are interrupted.

    Args:
        registered: is called when the server has registered a new device.
    """

    def __init__(self, network: Network, random: Random, registered: Callable[[], object]) -> None:
        self.url, self.network = network.url, network
        self.random, self.registered = random, registered

    def observe(self, kind: str, status: int, seconds: float) -> None:
        self.network.tally.count_request(kind, status, seconds)
        if kind == "register" and status == 201:
            self.registered()

    def listening(self, change: int) -> None:
        self.network.tally.listen(change)

    async def request(
        self,
        kind: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        is_image = isinstance(body, bytes)
        all_headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "image/png" if is_image else "application/json",
            **(headers or {}),
        }
        data = body if is_image or body is None else json.dumps(body).encode()
        clock = asyncio.get_running_loop().time
        started, response = clock(), Response(NO_RESPONSE)
        try:
            async with self.network.http.request(
                method, self.absolute(path), data=data, headers=all_headers
            ) as answer:
                text, names = await answer.text(), _lower_case(answer.headers)
                response = Response(answer.status, json.loads(text) if text else None, names)
        except (*LOST, ValueError):
            pass
        self.observe(kind, response.status, clock() - started)
        return response

    @asynccontextmanager
    async def stream(
        self, kind: str, path: str, *, token: str, headers: Mapping[str, str]
    ) -> AsyncIterator[Stream]:
        is_push, clock = kind == "stream", asyncio.get_running_loop().time
        session = self.network.streams if is_push else self.network.http
        all_headers = {"Authorization": f"Bearer {token}", **headers}
        started, status = clock(), NO_RESPONSE
        try:
            response = await session.get(self.absolute(path), headers=all_headers)
            status = response.status
        except LOST as error:
            raise ConnectionLost from error
        finally:
            self.observe(kind, status, clock() - started)
        async with response:
            is_interrupted = not is_push and self.random.random() < INTERRUPTION_PROBABILITY
            yield SimulatedStream(response, is_interrupted=is_interrupted)

    async def close(self) -> None:
        """Leave the connections open, which other devices share."""


def _lower_case(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
