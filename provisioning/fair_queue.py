"""Share the threads of the web server between callers."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

A = TypeVar("A")  # an answer of the web server


class QueueFull(Exception):
    """Too many requests are waiting."""


class FairQueue:
    """Places for requests that run at once. Callers who wait take turns.

    A caller who sends many requests therefore does not delay another caller by more than the
    requests that are running. It is used by one event loop.

    Args:
        places: number of requests that run at once.
        most_of_caller: returns how many of them may be of a caller.
        most_waiting: number of requests that wait.
        most_waiting_of_caller: how many of them may be of one caller.
    """

    def __init__(
        self,
        *,
        places: int,
        most_of_caller: Callable[[str], int],
        most_waiting: int,
        most_waiting_of_caller: int,
    ) -> None:
        self._places, self._most_of_caller = places, most_of_caller
        self._most_waiting, self._most_waiting_of_caller = most_waiting, most_waiting_of_caller
        self._running: Counter[str] = Counter()
        self._total = 0
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._waiting_total = 0

    async def acquire(self, caller: str) -> None:
        """Take a place, or wait for one. The request must be released when it has ended.

        Raises:
            QueueFull: too many requests are waiting, in total or of this caller.
        """
        if caller not in self._waiting and self._may_run(caller):
            self._take(caller)
            return
        own = self._waiting.get(caller, ())
        if self._waiting_total >= self._most_waiting or len(own) >= self._most_waiting_of_caller:
            raise QueueFull
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        self._waiting_total += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(caller)
            else:
                self._leave(caller, turn)
            raise

    def release(self, caller: str) -> None:
        """Give a place to the next caller whose turn it is."""
        self._total -= 1
        self._running[caller] -= 1
        if not self._running[caller]:
            del self._running[caller]
        # Callers that may not run now have a running request, so there are few of them.
        for waiting in list(self._first_callers()):
            if self._total >= self._places:
                return
            if self._may_run(waiting):
                self._start(waiting)

    def _first_callers(self) -> list[str]:
        callers = iter(self._waiting)
        return [caller for _, caller in zip(range(self._places + 1), callers, strict=False)]

    def _may_run(self, caller: str) -> bool:
        return self._total < self._places and self._running[caller] < self._most_of_caller(caller)

    def _take(self, caller: str) -> None:
        self._total += 1
        self._running[caller] += 1

    def _start(self, caller: str) -> None:
        turn = self._waiting[caller].popleft()
        self._waiting_total -= 1
        self._waiting.move_to_end(caller)  # the others first
        if not self._waiting[caller]:
            del self._waiting[caller]
        self._take(caller)
        turn.set_result(None)

    def _leave(self, caller: str, turn: "asyncio.Future[None]") -> None:
        turns = self._waiting[caller]
        turns.remove(turn)
        self._waiting_total -= 1
        if not turns:
            del self._waiting[caller]


class KnownCredentials:
    """The credentials that were accepted recently, so that callers can be told apart.

    A request with another credential counts as a request of its address. Otherwise a client
    could be a new caller with each invented token.
    """

    def __init__(self, most: int = 50_000) -> None:
        self._most = most
        self._recent: set[int] = set()
        self._older: set[int] = set()

    def add(self, credential: str) -> None:
        if len(self._recent) >= self._most // 2:
            self._older, self._recent = self._recent, set()
        self._recent.add(hash(credential))

    def __contains__(self, credential: str) -> bool:
        key = hash(credential)
        return key in self._recent or key in self._older


class RecentRefusals(Generic[A]):
    """Responses with 429 that are repeated for a moment without a thread."""

    MOST = 10_000

    def __init__(self) -> None:
        self._refusals: dict[tuple[str, str], tuple[float, A]] = {}

    def add(self, key: tuple[str, str], answer: A, *, until: float) -> None:
        if len(self._refusals) >= self.MOST:
            self._refusals.clear()
        self._refusals[key] = (until, answer)

    def get(self, key: tuple[str, str], now: float) -> A | None:
        until, answer = self._refusals.get(key, (0.0, None))
        return answer if now < until else None
