"""Requests with the device's token, and messages that must arrive."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from provisioning_agent.http import Http, Response
from provisioning_agent.state import MemoryStore, State

MAX_PAUSE = 60.0  # seconds that one request waits for `Retry-After`
MAX_OUTBOX = 200  # messages; the oldest are dropped


class Backoff:
    """Pauses that double after each failure, with jitter."""

    def __init__(self, first: float, longest: float, random: Random) -> None:
        self.first, self.longest, self.random = first, longest, random
        self.reset()

    def reset(self) -> None:
        self._next = self.first

    def pause(self) -> float:
        """Return the seconds until the next attempt."""
        pause, self._next = self._next, min(self.longest, 2 * self._next)
        return pause * self.random.uniform(0.5, 1.5)


class Session:
    """The connection of one device with the server.

    Args:
        now: the present time of the device's clock, in seconds since 1970.
    """

    def __init__(
        self, http: Http, store: MemoryStore, *, now: Callable[[], float], random: Random
    ) -> None:
        self.http, self.store, self.now, self.random = http, store, now, random
        self.clock_offset = 0.0  # seconds that the device's clock is behind the server's
        self._flushing = asyncio.Lock()

    @property
    def state(self) -> State:
        return self.store.state

    def save(self) -> None:
        self.store.save()

    def server_time(self) -> float:
        """Return the present time of the server's clock, in seconds since 1970."""
        return self.now() + self.clock_offset

    async def call(
        self,
        kind: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
    ) -> Response:
        """Send a request as the device. Then wait as long as `Retry-After` requires.

        After 401 the device has no token any more, and must register again.
        """
        token = self.state.token
        response = await self.http.request(kind, method, path, body, token=token, headers=headers)
        if response.status == 401 and token == self.state.token:
            self.state.token = ""
            self.save()
        if response.status in {429, 503} and response.retry_after:
            await asyncio.sleep(min(response.retry_after, MAX_PAUSE))
        return response

    def put(self, kind: str, path: str, body: dict[str, Any]) -> None:
        """Add a message that must arrive. The caller saves the state with it."""
        self.state.outbox.append({"kind": kind, "path": path, "body": body})
        del self.state.outbox[:-MAX_OUTBOX]

    async def flush(self) -> None:
        """Send the messages of the outbox. Those that cannot be sent now are kept.

        A message may arrive twice, if the device stops before it has noted the response. The
        server ignores the second one.
        """
        async with self._flushing:
            while self.state.outbox and self.state.token:
                message = self.state.outbox[0]
                response = await self.call(
                    message["kind"], "POST", message["path"], message["body"]
                )
                if not response.is_final:
                    return
                if self.state.outbox and self.state.outbox[0] is message:
                    del self.state.outbox[0]
                self.save()
