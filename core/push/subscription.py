"""The one Redis subscription of a push server process."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from django.conf import settings
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

TICK = 5.0  # seconds between two checks whether Redis still answers
MAX_SILENCE = 20.0  # seconds without an answer, after which Redis counts as unavailable
CATCH_UP_EVERY = 10.0  # seconds, while Redis is unavailable

Handler = Callable[[bytes], None]


class Subscription:
    """Pass messages of Redis channels to handlers, and catch up after interruptions.

    Args:
        handlers: functions by channel. Each function takes the bytes of a message, and
            raises ValueError, TypeError, KeyError or AttributeError if it cannot read
            the message.
        catch_up: functions that process missed messages. They are called when the
            subscription starts, and every few seconds while Redis is unavailable.
    """

    def __init__(
        self, handlers: Mapping[str, Handler], catch_up: Sequence[Callable[[], Awaitable[None]]]
    ) -> None:
        self._handlers, self._catch_up_calls = handlers, catch_up
        self.is_active = asyncio.Event()

    async def run(self) -> None:
        """Read messages until the task is cancelled."""
        while True:
            try:
                await self._read()
            except (RedisError, OSError):
                logger.warning("Redis is unavailable; the push server polls instead.")
            except Exception:  # no error may close the connections
                logger.exception("The Redis subscription failed")
            self.is_active.clear()
            await self._catch_up()
            await asyncio.sleep(CATCH_UP_EVERY)

    async def _read(self) -> None:
        """Read messages until an error occurs.

        Raises:
            RedisError, OSError: Redis is unavailable, or has sent nothing for `MAX_SILENCE`.
        """
        client = Redis.from_url(
            settings.REDIS_PUSH_URL,
            socket_connect_timeout=2,
            # An automatic reconnect would lose messages, because no catch-up would follow.
            retry=Retry(NoBackoff(), 0),
        )
        async with client, client.pubsub() as subscription:
            await subscription.subscribe(*self._handlers)
            answered = time.monotonic()
            while True:
                message = await subscription.get_message(timeout=TICK)
                if message is not None:
                    await self._take(message)
                    answered = time.monotonic()
                elif time.monotonic() - answered > MAX_SILENCE:
                    raise RedisConnectionError("Redis does not answer.")
                else:
                    await subscription.ping()

    async def _take(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "subscribe" and not self.is_active.is_set():
            self.is_active.set()
            await self._catch_up()
        if message["type"] == "message":
            try:
                self._handlers[message["channel"].decode()](message["data"])
            except (ValueError, TypeError, AttributeError, KeyError):
                logger.warning("A push notification could not be read.")

    async def _catch_up(self) -> None:
        for call in self._catch_up_calls:
            try:
                await call()
            except Exception:  # the next catch-up tries again
                logger.exception("Catching up with missed messages failed")
