"""Open streams of one web process: all fed by one subscription to Redis."""

import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from events import topics
from tenants.context import EVERY_TENANT

logger = logging.getLogger(__name__)

TOPIC_HEADER = "X-Live-Topic"  # says that an answer is the head of a stream
MOST_STREAMS = 200  # of one process; whoever comes after looks now and then instead
LONGEST = 300.0  # seconds; then the browser comes again and shows who it is
QUIET = 15.0  # seconds after which a comment says that somebody is there
BEHIND = 50  # hints that wait for a slow reader; then they become one
REST = 20.0  # seconds between two looks while Redis is away

EVERYTHING = json.dumps({"names": ["*"], "devices": None})


@dataclass(eq=False, slots=True)
class Stream:
    """One open page."""

    topic: str  # a tenant's id, or every tenant
    waiting: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue(BEHIND))

    def offer(self, hint: str) -> None:
        try:
            self.waiting.put_nowait(hint)
        except asyncio.QueueFull:
            while not self.waiting.empty():
                self.waiting.get_nowait()
            self.waiting.put_nowait(EVERYTHING)


class Streams:
    """The streams of this process."""

    def __init__(self) -> None:
        self._open: set[Stream] = set()
        self._reader: asyncio.Task[None] | None = None

    @property
    def is_full(self) -> bool:
        return len(self._open) >= MOST_STREAMS

    async def serve(self, topic_of_it: str, transport: Any, head: bytes) -> None:
        """Write to an open answer until the page is closed, or for `LONGEST`."""
        stream = Stream(topic_of_it)
        self._open.add(stream)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read())
        try:
            await transport.send_bytes(head)
            async with asyncio.timeout(LONGEST):
                while True:
                    await transport.send_str(await _next_of(stream))
        except (TimeoutError, RuntimeError, OSError):
            pass  # its time is over, or nobody reads it any more
        finally:
            self._open.discard(stream)

    async def _read(self) -> None:
        """Pass on what Redis says, as long as a stream is open."""
        while self._open:
            try:
                await self._subscribed()
            except (RedisError, OSError):
                logger.warning("Redis is away: open pages look now and then.")
                for stream in self._open:
                    stream.offer(EVERYTHING)
                await asyncio.sleep(REST)

    async def _subscribed(self) -> None:
        # No retries of its own: what it missed meanwhile would be missed for good.
        client = Redis.from_url(
            settings.REDIS_URL, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0)
        )
        async with client, client.pubsub() as subscription:
            await subscription.subscribe(topics.live())
            for stream in self._open:  # what was missed meanwhile
                stream.offer(EVERYTHING)
            while self._open:
                said = await subscription.get_message(
                    ignore_subscribe_messages=True, timeout=5.0
                )
                if said is not None:
                    self._pass_on(said["data"])

    def _pass_on(self, data: bytes) -> None:
        with suppress(ValueError, KeyError):
            hint = json.loads(data)
            told = json.dumps({"names": hint["names"], "devices": hint["devices"]})
            for stream in self._open:
                if stream.topic in (EVERY_TENANT, hint["tenant"]):
                    stream.offer(told)


async def _next_of(stream: Stream) -> str:
    try:
        hint = await asyncio.wait_for(stream.waiting.get(), QUIET)
    except TimeoutError:
        return ": still here\n\n"
    return f"data: {hint}\n\n"
