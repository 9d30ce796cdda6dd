"""Open connections of one process, and the stream of events that each receives."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Generic, TypeVar

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

PING_SECONDS = 25.0  # interval of comments that keep an idle connection open


class Listener:
    """One open connection. Notifications change the listener's state, and its stream sends it.

    A slow reader therefore receives several notifications as one.

    Args:
        owner: whose share of the connections this is.
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.changed = asyncio.Event()
        self.is_over = False

    def end(self) -> None:
        """End the stream, because the connection was closed or replaced by another one."""
        self.is_over = True
        self.changed.set()

    def events(self) -> Iterator[dict[str, str]]:
        """Yield the events for all changes since the last call."""
        raise NotImplementedError


L = TypeVar("L", bound=Listener)


class Listeners(Generic[L]):
    """The open connections of one kind, by key. Several connections may have the same key.

    Args:
        most: number of connections.
        most_of_owner: number of connections of one owner, such as an address or a user.
    """

    def __init__(self, *, most: int, most_of_owner: int) -> None:
        self._by_key: dict[str, set[L]] = {}
        self._count, self._most = 0, most
        self._by_owner: Counter[str] = Counter()
        self._most_of_owner = most_of_owner

    def __len__(self) -> int:
        return self._count

    @property
    def is_full(self) -> bool:
        return self._count >= self._most

    def is_full_for(self, owner: str) -> bool:
        return self.is_full or self._by_owner[owner] >= self._most_of_owner

    def add(self, key: str, listener: L) -> None:
        self._by_key.setdefault(key, set()).add(listener)
        self._by_owner[listener.owner] += 1
        self._count += 1

    def remove(self, key: str, listener: L) -> None:
        self._count -= 1
        self._by_owner[listener.owner] -= 1
        if not self._by_owner[listener.owner]:
            del self._by_owner[listener.owner]
        listeners = self._by_key[key]
        listeners.discard(listener)
        if not listeners:
            del self._by_key[key]

    def of(self, key: str) -> tuple[L, ...]:
        return tuple(self._by_key.get(key, ()))

    def keys(self) -> list[str]:
        return list(self._by_key)

    def all(self) -> list[L]:
        return [listener for group in self._by_key.values() for listener in group]

    def end_all(self) -> None:
        for listener in self.all():
            listener.end()


class EventStream:
    """ASGI app that sends a listener's events as server-sent events (WHATWG HTML §9.2).

    Args:
        retry_seconds: time that a client waits before it connects again.
        max_seconds: maximum duration of the connection. After this time the client has to
            connect and authenticate again.
        on_end: called when the connection has ended for any reason.
    """

    def __init__(
        self,
        listener: Listener,
        *,
        headers: Mapping[str, str],
        retry_seconds: float,
        max_seconds: float,
        on_end: Callable[[], None],
    ) -> None:
        self._on_end = on_end
        self._response = EventSourceResponse(
            _events(listener, retry_seconds, max_seconds),
            headers=headers,
            sep="\n",
            ping=PING_SECONDS,
            ping_message_factory=lambda: ServerSentEvent(comment="ping"),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._response(scope, receive, send)
        finally:
            self._on_end()


async def wait_for_change(listener: Listener, request: Request, *, seconds: float) -> None:
    """Wait until the listener changes, the client disconnects, or `seconds` have passed."""
    disconnected = asyncio.create_task(_until_disconnected(request))
    changed = asyncio.create_task(listener.changed.wait())
    try:
        await asyncio.wait(
            (disconnected, changed), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        disconnected.cancel()
        changed.cancel()


async def _events(
    listener: Listener, retry_seconds: float, max_seconds: float
) -> AsyncIterator[dict[str, Any]]:
    yield {"retry": int(1000 * retry_seconds)}
    loop = asyncio.get_running_loop()
    end = loop.time() + max_seconds * random.uniform(0.8, 1)
    while not listener.is_over and (left := end - loop.time()) > 0:
        listener.changed.clear()
        for event in listener.events():
            yield event
        with suppress(TimeoutError):
            async with asyncio.timeout(left):
                await listener.changed.wait()


async def _until_disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
