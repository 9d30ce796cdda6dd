"""Run requests through Django on a few threads, which tenants and their callers share."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from django.conf import settings

from provisioning.fair_queue import FairQueue, KnownCredentials, QueueFull, RecentRefusals
from provisioning.pacing import Pacing
from provisioning.refusals import Overloaded, Unanswered
from tenants.middleware import TENANT_SEEN, forwarded_address

MAX_WAITING = 2000  # requests in one process that wait for a thread
MAX_WAITING_OF_TENANT = 1000
MAX_WAITING_OF_CALLER = 500  # thousands of devices may share an address until they are known
MEMBER_SHARE = 0.25  # of a thread; lists and searches are expensive
REFUSAL_SECONDS = 0.5  # in which an answer with 429 is repeated
INVALID_SECONDS = 5.0  # the same for an invalid credential, which cannot become valid

UNKNOWN = "unknown"  # address

A = TypeVar("A", bound=tuple[Any, ...])  # an answer, whose first item is the status


class FairThreads(Generic[A]):
    """The threads of one server process. It is used by one event loop.

    Args:
        run: handles a WSGI environment (PEP 3333) in a thread and returns the answer.
        threads: number of requests that run at once.
        most_waiting_of_caller: how many requests of one caller may wait.
    """

    def __init__(
        self,
        run: Callable[[dict[str, Any]], A],
        *,
        threads: int,
        most_waiting_of_caller: int = MAX_WAITING_OF_CALLER,
    ) -> None:
        self._run, self._most = run, threads
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="request")
        self._queue = FairQueue(
            places=threads,
            most_of_caller=self._most_of_caller,
            most_waiting=MAX_WAITING,
            most_waiting_of_group=MAX_WAITING_OF_TENANT,
            most_waiting_of_caller=most_waiting_of_caller,
        )
        self._pacing = Pacing(_share)
        self._known = KnownCredentials()
        self._refusals: RecentRefusals[A] = RecentRefusals()

    async def answer(self, environ: dict[str, Any]) -> A:
        """Return Django's answer to a complete request.

        A thread that waits for a stopped database cannot be interrupted. It ends its request
        later; a request that has no thread yet is dropped.

        Raises:
            Unanswered: there is no answer within `REQUEST_TIMEOUT`.
            Overloaded: too many requests wait, in all, of the tenant, or of the caller.
        """
        credential, caller = _credential(environ), self._caller(environ)
        tenant = self._known.tenant(credential) or ""
        seen: list[str] = []
        environ[TENANT_SEEN] = seen
        limited = _limited(environ)
        if (refusal := self._refusals.get(limited, time.monotonic())) is not None:
            return refusal
        try:
            async with asyncio.timeout(settings.REQUEST_TIMEOUT):
                answer = await self._in_turn(environ, caller, tenant)
        except TimeoutError:
            raise Unanswered from None
        except QueueFull:
            raise Overloaded from None
        if credential and answer[0] < 400:
            self._known.add(credential, seen[0] if seen else "")
        if answer[0] == 429:
            is_invalid = bool(credential) and caller != credential
            seconds = INVALID_SECONDS if is_invalid else REFUSAL_SECONDS
            self._refusals.add(limited, answer, until=time.monotonic() + seconds)
        return answer

    def refuses(self, credential: str, address: str | None, method: str, path: str) -> bool:
        """Return True if the answer to such a request of the caller is 429 at the moment."""
        key = _refused(credential, address or UNKNOWN, method, path)
        return self._refusals.get(key, time.monotonic()) is not None

    def note_fast_answer(self, credential: str, tenant: str) -> None:
        """Note a request that needed no thread. Its caller is valid, and active like others."""
        self._known.add(credential, tenant)
        self._pacing.note_start(credential)

    async def _in_turn(self, environ: dict[str, Any], caller: str, tenant: str) -> A:
        if not self._pacing.applies(caller):
            await self._queue.acquire(caller, tenant)
            return await self._in_thread(environ, caller)
        async with self._pacing.lock(caller):
            await asyncio.sleep(self._pacing.pause(caller))
            await self._queue.acquire(caller, tenant)
            return await self._in_thread(environ, caller)

    async def _in_thread(self, environ: dict[str, Any], caller: str) -> A:
        """Run Django. The place is released when the thread ends, also if nobody waits for it."""
        loop, started = asyncio.get_running_loop(), time.monotonic()
        self._pacing.note_start(caller)
        running = self._threads.submit(self._run, environ)

        def release() -> None:
            self._pacing.note_end(caller, time.monotonic() - started)
            self._queue.release(caller)

        running.add_done_callback(lambda _: loop.call_soon_threadsafe(release))
        return await asyncio.wrap_future(running)

    def _caller(self, environ: dict[str, Any]) -> str:
        """Return the credential if it was accepted recently, otherwise the address."""
        credential = _credential(environ)
        return credential if credential in self._known else _address(environ)

    def _most_of_caller(self, caller: str) -> int:
        """Return how many requests of a caller may run at once.

        Threads share one interpreter lock, so each running request slows the others down. A
        device sends one request at a time. So does an address, until its credentials are known.
        """
        is_site = caller.rpartition(" ")[2].startswith(("enr_", "gwt_"))
        return max(1, self._most - 1) if is_site or _is_member(caller) else 1


def _share(caller: str) -> float:
    return MEMBER_SHARE if _is_member(caller) else 1.0


def _is_member(caller: str) -> bool:
    return caller.startswith("Bearer usr_") or "=" in caller  # a token, or a cookie


def _credential(environ: dict[str, Any]) -> str:
    return environ.get("HTTP_AUTHORIZATION") or environ.get("HTTP_COOKIE") or ""


def _limited(environ: dict[str, Any]) -> tuple[str, str]:
    credential, address = _credential(environ), _address(environ)
    return _refused(credential, address, environ["REQUEST_METHOD"], environ["PATH_INFO"])


def _refused(credential: str, address: str, method: str, path: str) -> tuple[str, str]:
    """Return who is refused, and for which requests, by an answer with 429.

    An endpoint may have a limit of its own. An OCSP request may be the last part of a path
    (RFC 6960, appendix A.1), so without a credential this part of a long path is left out.
    """
    if credential:
        return str(hash(credential)), f"{method} {path}"
    if path.count("/") > 2:
        path = path[: path.rindex("/") + 1]
    return address, f"{method} {path}"


def _address(environ: dict[str, Any]) -> str:
    address = forwarded_address(environ["REMOTE_ADDR"], environ.get("HTTP_X_FORWARDED_FOR", ""))
    return address or UNKNOWN
