"""Many simulated boxes at once, as coroutines of one process."""

import asyncio
import resource
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import aiohttp

from devices.simulation.commands import QUIET
from devices.simulation.device import Pace, SimulatedDevice, Surroundings
from devices.simulation.tally import Tally

MOST_CONNECTIONS = 200  # at once; boxes share them, as behind a proxy
PATIENCE = 30.0  # seconds for an answer


def allow_connections(devices: int) -> None:
    """Let this process have one open connection for each box, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = devices + 2 * MOST_CONNECTIONS + 100
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """So many boxes of a seed, at a server."""

    url: str
    enrollment_token: str
    devices: int
    seed: str
    pace: Pace
    now: Callable[[], datetime]

    async def run(self, tally: Tally, seconds: float | None = None) -> None:
        """Let them live, for a time or until this is cancelled; `tally` tells of it."""
        connector = aiohttp.TCPConnector(limit=MOST_CONNECTIONS)
        # A box may wait for its turn for as long as it takes, but not for an answer.
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=PATIENCE, sock_read=PATIENCE
        )
        # One quiet connection for each box, beside those that they share.
        quiet = aiohttp.TCPConnector(limit=0)
        endless = aiohttp.ClientTimeout(total=None, sock_read=QUIET)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as http,
            aiohttp.ClientSession(connector=quiet, timeout=endless) as streams,
        ):
            where = Surroundings(
                http=http,
                streams=streams,
                url=self.url.rstrip("/"),
                enrollment_token=self.enrollment_token,
                seed=self.seed,
                pace=self.pace,
                tally=tally,
                now=self.now,
            )
            with suppress(TimeoutError):  # the time is over
                async with asyncio.timeout(seconds), asyncio.TaskGroup() as lives:
                    for number in range(self.devices):
                        lives.create_task(SimulatedDevice(number, where).live())
                    try:
                        await asyncio.Event().wait()  # until it is cancelled
                    finally:
                        tally.is_over = True
