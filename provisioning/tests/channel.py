"""A running server of the push channel, for tests."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from devices.registry.tests.waiting import until
from devices.remote_control.services.connect_response import PATH
from provisioning.roles import command_of
from provisioning.tests.processes import other_process
from provisioning.tests.running import free_ports


class Channel:
    """A running server of the push channel."""

    def __init__(self, port: int, server: "subprocess.Popen[bytes]") -> None:
        self.server = server
        self.base = f"http://127.0.0.1:{port}"
        self.url = f"{self.base}{PATH}"

    @asynccontextmanager
    async def held(self, token: str, **headers: str) -> Any:
        """The lines of a stream that a device holds."""
        said = {
            "Authorization": f"Bearer {token}",
            "Accept": "text/event-stream",
            **headers,
        }
        async with (
            aiohttp.ClientSession() as http,
            http.get(self.url, headers=said) as answer,
        ):
            assert answer.status == 200, await answer.text()
            assert answer.content_type == "text/event-stream"
            yield answer.content

    async def polled(self, token: str, after: int) -> Any:
        said = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{self.url}?after={after}", headers=said) as answer,
        ):
            return answer.status, await answer.json()


def started(**environment: str) -> Channel:
    (port,) = free_ports(1)
    server = subprocess.Popen(
        command_of("stream", port=port),
        env={**other_process(), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    channel = Channel(port, server)
    until(lambda: asyncio.run(_answers(channel)), within=90)
    return channel


def serving(**environment: str) -> Iterator[Channel]:
    """One for as long as a fixture; it must not die on the way."""
    channel = started(**environment)
    yield channel
    assert channel.server.poll() is None, "The server has died."
    channel.server.terminate()
    channel.server.wait(timeout=60)


async def _answers(channel: Channel) -> bool:
    try:
        return bool((await channel.polled("", 0))[0] == 401)
    except OSError:
        return False
