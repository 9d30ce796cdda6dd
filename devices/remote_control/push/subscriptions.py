"""Who holds the push channel in this process, and how they hear of their commands."""

import asyncio
import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from devices.remote_control.services import push_notifications, queues
from tenants.context import every_tenant_scope

logger = logging.getLogger(__name__)

REMEMBERED = 30.0  # seconds, at least, for which who comes later knows of a wake-up
TICK = 5.0  # seconds between two looks whether Redis is still there
SILENCE = 20.0  # seconds without a word after which it counts as away
REST = 10.0  # seconds between two looks into the database while Redis is away
AT_ONCE = 1000  # devices in one look


class Listener:
    """One device that listens; `changed` is set when there is something to look at."""

    __slots__ = ("changed", "has_update", "is_over", "sequence")

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence
        self.has_update = False  # of which it was not told yet
        self.is_over = False  # it went, or listens at another place now
        self.changed = asyncio.Event()

    def hear(self, sequence: int) -> None:
        if sequence > self.sequence:
            self.sequence = sequence
            self.changed.set()

    def hear_of_update(self) -> None:
        self.has_update = True
        self.changed.set()

    def end(self) -> None:
        self.is_over = True
        self.changed.set()


class Wakeups:
    """The listeners of this process, all fed by one subscription to Redis."""

    def __init__(self) -> None:
        self._listening: dict[str, Listener] = {}
        # What was said lately: a device that was let in on what the database said a
        # moment ago may have been named meanwhile.
        self._recent: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self._turned = time.monotonic()
        self.is_subscribed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._listening)

    def join(self, device_id: str, sequence: int) -> Listener:
        """Listen for a device, in the place of whoever did so for it before.

        Args:
            sequence: the number that the database has said.
        """
        said = (told.get(device_id, 0) for told in (self._recent, self._before))
        listener = Listener(max(sequence, *said))
        if (before := self._listening.get(device_id)) is not None:
            before.end()
        self._listening[device_id] = listener
        return listener

    def leave(self, device_id: str, listener: Listener) -> None:
        if self._listening.get(device_id) is listener:
            del self._listening[device_id]

    def end_all(self) -> None:
        for listener in self._listening.values():
            listener.end()

    async def read(self) -> None:
        """Pass on what Redis says, until this is cancelled.

        While Redis is away, and when it is back, the database is asked for what was
        missed: of the devices that listen here, a thousand at a time.
        """
        while True:
            try:
                await self._subscribed()
            except (RedisError, OSError):
                logger.warning("Redis is away: the database is asked now and then.")
            except Exception:  # whatever it is, the devices are still there
                logger.exception("The wake-ups could not be read")
            self.is_subscribed.clear()
            await self._catch_up()
            await asyncio.sleep(REST)

    async def _subscribed(self) -> None:
        """
        Raises:
            RedisError, OSError: it is away, or has not been heard of for `SILENCE`.
        """
        client = Redis.from_url(
            settings.REDIS_URL,
            socket_connect_timeout=2,
            retry=Retry(NoBackoff(), 0),  # what it missed would be missed for good
        )
        async with client, client.pubsub() as subscription:
            await subscription.subscribe(push_notifications.topic())
            heard = time.monotonic()
            while True:
                said = await subscription.get_message(timeout=TICK)
                self._turn()
                if said is not None:
                    await self._take(said)
                    heard = time.monotonic()
                elif time.monotonic() - heard > SILENCE:
                    raise RedisConnectionError("It does not answer.")
                else:
                    await subscription.ping()

    async def _take(self, said: Mapping[str, Any]) -> None:
        """A message; the first one says that the subscription holds from now on."""
        if said["type"] == "subscribe":
            self.is_subscribed.set()
            await self._catch_up()
        if said["type"] == "message":
            try:
                told = json.loads(said["data"])
                commands, updates = told["commands"], told["updates"]
                self.hear({str(name): int(n) for name, n in commands.items()})
                self.hear_of_updates(map(str, updates))
            except (ValueError, TypeError, AttributeError, KeyError):
                logger.warning("A wake-up could not be understood.")

    def hear(self, sequences: Mapping[str, int]) -> None:
        """Which number the last commands of some devices have."""
        for device_id, sequence in sequences.items():
            self._recent[device_id] = max(sequence, self._recent.get(device_id, 0))
            if (listener := self._listening.get(device_id)) is not None:
                listener.hear(sequence)

    def hear_of_updates(self, device_ids: Iterable[str]) -> None:
        """An update is meant for some devices."""
        for device_id in device_ids:
            if (listener := self._listening.get(device_id)) is not None:
                listener.hear_of_update()

    def _turn(self) -> None:
        """Forget by and by what was said."""
        if time.monotonic() - self._turned > REMEMBERED:
            self._before, self._recent = self._recent, {}
            self._turned = time.monotonic()

    async def _catch_up(self) -> None:
        listening = list(self._listening)
        for start in range(0, len(listening), AT_ONCE):
            some = listening[start : start + AT_ONCE]
            with suppress(DatabaseError, InterfaceError):
                self.hear(await asyncio.to_thread(_waiting, some))


def _waiting(device_ids: Sequence[str]) -> dict[str, int]:
    close_old_connections()
    with every_tenant_scope():
        found = queues.waiting([UUID(name) for name in device_ids])
    return {str(device_id): sequence for device_id, sequence in found.items()}
