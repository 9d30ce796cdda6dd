"""Limit the thread time of a caller while other callers are active."""

import asyncio
import time
from collections.abc import Callable
from weakref import WeakValueDictionary

ACTIVE_SECONDS = 1.0  # a caller is active for this time after the start of a request
BURST_SECONDS = 2.0  # of the share that a caller may use at once after a rest
MOST_CALLERS = 10_000  # whose thread time is remembered


class Pacing:
    """The thread time of one process. It is used by one event loop.

    The price of a request is only known when it has ended. So a caller pays afterwards, by
    waiting before its next request (generic cell rate algorithm).

    Args:
        share: returns the share of one thread that a caller may use, from 0 to 1. A caller
            with a share of 1 is not limited.
        clock: returns monotonic seconds.
    """

    def __init__(
        self, share: Callable[[str], float], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._share, self._clock = share, clock
        self._paid_until: dict[str, float] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._latest, self._previous = ("", -ACTIVE_SECONDS), ("", -ACTIVE_SECONDS)

    def applies(self, caller: str) -> bool:
        """Return True if the caller is limited now, because another caller is active."""
        since = self._clock() - ACTIVE_SECONDS
        return self._share(caller) < 1 and any(
            other != caller and at > since for other, at in (self._latest, self._previous)
        )

    def lock(self, caller: str) -> asyncio.Lock:
        """Return the lock that a limited request of the caller holds until it has ended."""
        return self._locks.setdefault(caller, asyncio.Lock())

    def pause(self, caller: str) -> float:
        """Return the seconds until the next request of a limited caller may start."""
        return max(0.0, self._paid_until.get(caller, 0.0) - self._clock())

    def note_start(self, caller: str) -> None:
        if caller != self._latest[0]:
            self._previous = self._latest
        self._latest = (caller, self._clock())

    def note_end(self, caller: str, seconds: float) -> None:
        """Let the caller pay for a request that has used a thread for this time."""
        share, now = self._share(caller), self._clock()
        if share < 1:
            if len(self._paid_until) >= MOST_CALLERS:
                self._paid_until = {k: v for k, v in self._paid_until.items() if v > now}
            since = max(self._paid_until.get(caller, 0.0), now - BURST_SECONDS)
            self._paid_until[caller] = since + seconds / share
