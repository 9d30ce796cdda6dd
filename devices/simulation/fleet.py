"""Run many simulated devices as coroutines of one process."""

import asyncio
import resource
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import aiohttp
from provisioning_agent.http import RESPONSE_TIMEOUT, STREAM_TIMEOUT

from devices.simulation.device import FleetContext, FleetTiming, SimulatedDevice
from devices.simulation.network import Network
from devices.simulation.run_statistics import RunStatistics

MAX_CONNECTIONS = 200  # shared by all devices, as behind a proxy


def allow_connections(devices: int) -> None:
    """Raise the limit of open files, so that each device can keep a push connection open.

    The hard limit of the process is not exceeded.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    required = devices + 2 * MAX_CONNECTIONS + 100
    if soft < required:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(required, hard), hard))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The simulated devices of one seed and the server that they use."""

    url: str
    enrollment_token: str
    devices: int
    seed: str
    pace: FleetTiming
    now: Callable[[], datetime]

    async def run(self, tally: RunStatistics, seconds: float | None = None) -> None:
        """Run the devices and count their requests.

        Args:
            tally: The statistics to fill.
            seconds: The duration. None runs until the task is cancelled.
        """
        connector = aiohttp.TCPConnector(limit=MAX_CONNECTIONS)
        # The wait for a free connection is not limited, only the wait for a response.
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=RESPONSE_TIMEOUT, sock_read=RESPONSE_TIMEOUT
        )
        stream_connector = aiohttp.TCPConnector(limit=0)
        stream_timeout = aiohttp.ClientTimeout(total=None, sock_read=STREAM_TIMEOUT)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as http,
            aiohttp.ClientSession(connector=stream_connector, timeout=stream_timeout) as streams,
        ):
            context = FleetContext(
                network=Network(self.url.rstrip("/"), http, streams, tally),
                enrollment_token=self.enrollment_token,
                seed=self.seed,
                pace=self.pace,
                now=self.now,
            )
            with suppress(TimeoutError):  # raised when the duration has passed
                async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
                    for number in range(self.devices):
                        tasks.create_task(SimulatedDevice(number, context).run())
                    try:
                        await asyncio.Event().wait()  # until cancelled
                    finally:
                        tally.is_over = True
