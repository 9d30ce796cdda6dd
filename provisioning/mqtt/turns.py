"""Handle the messages of each device one after the other, in the order of their arrival."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Turns(Generic[K]):
    """Whose turn it is, for each key. It is used by one event loop.

    Args:
        most: how many may be waiting or running for one key.
    """

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._locks: dict[K, tuple[asyncio.Lock, int]] = {}  # and how many use it

    def has_place(self, key: K) -> bool:
        return self._locks[key][1] < self._most if key in self._locks else True

    @asynccontextmanager
    async def turn(self, key: K) -> AsyncIterator[None]:
        """Wait until all earlier ones of the key have ended."""
        lock, users = self._locks.get(key) or (asyncio.Lock(), 0)
        self._locks[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = lock, users - 1
