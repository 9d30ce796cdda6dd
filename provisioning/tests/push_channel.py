"""A running push server, for tests."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from devices.registry.tests.waiting import wait_until
from devices.remote_control.services.connect_response import PATH
from provisioning.roles import command_line
from provisioning.tests.processes import subprocess_environment
from provisioning.tests.running import free_ports


class Channel:
    """A push server in a process of its own."""

    def __init__(self, port: int, server: "subprocess.Popen[bytes]") -> None:
        self.server = server
        self.base = f"http://127.0.0.1:{port}"
        self.url = f"{self.base}{PATH}"

    @asynccontextmanager
    async def stream(self, token: str, **headers: str) -> Any:
        """Open a device's event stream. Yields the body, readable line by line."""
        all_headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream", **headers}
        async with (
            aiohttp.ClientSession() as http,
            http.get(self.url, headers=all_headers) as response,
        ):
            assert response.status == 200, await response.text()
            assert response.content_type == "text/event-stream"
            yield response.content

    async def poll(self, token: str, after: int) -> Any:
        """Long-poll for a command with a sequence number above `after`. Return status and JSON."""
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{self.url}?after={after}", headers=headers) as response,
        ):
            return response.status, await response.json()


def start_channel(**environment: str) -> Channel:
    """Start a push server and wait until it responds."""
    (port,) = free_ports(1)
    server = subprocess.Popen(
        command_line("stream", port=port),
        env={**subprocess_environment(), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    channel = Channel(port, server)
    wait_until(lambda: asyncio.run(_responds(channel)), timeout=90)
    return channel


def running_channel(**environment: str) -> Iterator[Channel]:
    """Run a push server for a fixture. Fail if the server ends before the fixture does."""
    channel = start_channel(**environment)
    yield channel
    assert channel.server.poll() is None, "The push server has ended."
    channel.server.terminate()
    channel.server.wait(timeout=60)


async def _responds(channel: Channel) -> bool:
    try:
        return bool((await channel.poll("", 0))[0] == 401)
    except OSError:
        return False
