"""Share the threads of the web server between callers."""

import asyncio
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Generic, TypeVar

Callers = OrderedDict[str, deque["asyncio.Future[None]"]]
A = TypeVar("A")  # an answer of the web server


class QueueFull(Exception):
    """Too many requests are waiting."""


class FairQueue:
    """Places for requests that run at once. Groups of callers take turns, then their callers do.

    A caller who sends many requests therefore does not delay another caller by more than the
    requests that are running, and many callers of a group do not delay another group. It is
    used by one event loop.

    Args:
        places: number of requests that run at once.
        most_of_caller: returns how many of them may be of a caller.
        most_waiting: number of requests that wait.
        most_waiting_of_group: how many of them may be of one group.
        most_waiting_of_caller: how many of them may be of one caller.
    """

    def __init__(
        self,
        *,
        places: int,
        most_of_caller: Callable[[str], int],
        most_waiting: int,
        most_waiting_of_group: int,
        most_waiting_of_caller: int,
    ) -> None:
        self._places, self._most_of_caller = places, most_of_caller
        self._limits = (most_waiting, most_waiting_of_group, most_waiting_of_caller)
        self._running: Counter[str] = Counter()
        self._total = 0
        self._waiting: OrderedDict[str, Callers] = OrderedDict()  # by group
        self._waiting_of_group: Counter[str] = Counter()

    async def acquire(self, caller: str, group: str = "") -> None:
        """Take a place, or wait for one. The request must be released when it has ended.

        Args:
            group: whom the caller belongs to; "" if the caller is a group of its own.

        Raises:
            QueueFull: too many requests are waiting, in total, of the group, or of this caller.
        """
        group = group or caller
        callers_of_group = self._waiting.get(group)
        waiting = callers_of_group.get(caller) if callers_of_group else None
        if waiting is None and self._may_run(caller):
            self._take(caller)
            return
        counts = (self._waiting_of_group.total(), self._waiting_of_group[group], len(waiting or ()))
        if any(count >= limit for count, limit in zip(counts, self._limits, strict=True)):
            raise QueueFull
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        callers = self._waiting.setdefault(group, OrderedDict())
        callers.setdefault(caller, deque()).append(turn)
        self._waiting_of_group[group] += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(caller)
            else:
                self._remove(turn, caller, group)
            raise

    def release(self, caller: str) -> None:
        """Release the place of a request, and give it to the caller whose turn is next."""
        self._total -= 1
        self._running[caller] -= 1
        if not self._running[caller]:
            del self._running[caller]
        # Callers that may not run now have a running request, so there are few of them.
        for group in self._first(self._waiting):
            if self._total >= self._places:
                return
            runnable = filter(self._may_run, self._first(self._waiting[group]))
            if (waiting := next(runnable, None)) is not None:
                self._start(waiting, group)

    def _first(self, names: Iterable[str]) -> list[str]:
        return list(islice(names, self._places + 1))

    def _may_run(self, caller: str) -> bool:
        return self._total < self._places and self._running[caller] < self._most_of_caller(caller)

    def _take(self, caller: str) -> None:
        self._total += 1
        self._running[caller] += 1

    def _start(self, caller: str, group: str) -> None:
        turn = self._waiting[group][caller][0]
        self._waiting[group].move_to_end(caller)  # the others first
        self._waiting.move_to_end(group)
        self._remove(turn, caller, group)
        self._take(caller)
        turn.set_result(None)

    def _remove(self, turn: "asyncio.Future[None]", caller: str, group: str) -> None:
        callers = self._waiting[group]
        callers[caller].remove(turn)
        if not callers[caller]:
            del callers[caller]
        if not callers:
            del self._waiting[group]
        self._waiting_of_group[group] -= 1
        if not self._waiting_of_group[group]:
            del self._waiting_of_group[group]


class KnownCredentials:
    """The credentials that were accepted recently and their tenants, to tell callers apart.

    A request with another credential counts as a request of its address. Otherwise a client
    could be a new caller with each invented token.
    """

    def __init__(self, most: int = 50_000) -> None:
        self._most = most
        self._recent: dict[int, str] = {}
        self._older: dict[int, str] = {}

    def add(self, credential: str, tenant: str = "") -> None:
        """Remember a credential and the id of its tenant, "" if it has none."""
        if len(self._recent) >= self._most // 2:
            self._older, self._recent = self._recent, {}
        self._recent[hash(credential)] = sys.intern(tenant)

    def tenant(self, credential: str) -> str | None:
        """Return the id of the tenant of a credential, None if the credential is not known."""
        key = hash(credential)
        return self._recent.get(key, self._older.get(key))

    def __contains__(self, credential: str) -> bool:
        return self.tenant(credential) is not None


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
