"""Rate limits with a sliding window, counted in Redis for all processes and hosts.

The count of the previous window is weighted by the part of it that the sliding window
still covers. A refused request is not counted, so a client that waits gets through.

High limits are counted in batches. A process sends one request to Redis per twentieth of
the limit. A client far below its limit therefore causes no Redis request. Each process
may exceed the limit by at most a twentieth of it. Limits below 40 are exact.
"""

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Self

from django.conf import settings
from redis import Redis, RedisError

logger = logging.getLogger(__name__)

UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hour": 3600, "day": 86_400}
NOTATION = re.compile(r"(?P<limit>[1-9]\d{0,8})/(?P<count>[1-9]\d{0,3})?(?P<unit>[a-z]+)")
BATCHES = 20  # Redis requests per limit
MAX_KEYS = 100_000  # keys that one process counts
REDIS_RETRY_AFTER = 5.0  # seconds without requests to a Redis that did not answer

# Counts the requests and returns 0, or returns the seconds to wait.
SCRIPT = """
local limit, period, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local window, elapsed = math.floor(now / period), now % period
local key = KEYS[1] .. ':' .. window
local previous = tonumber(redis.call('GET', KEYS[1] .. ':' .. (window - 1)) or '0')
local count = tonumber(redis.call('GET', key) or '0')
local remaining = limit - count - cost
if previous * (1 - elapsed / period) > remaining then
    if remaining < 0 then return tostring(period - elapsed) end
    return tostring(math.max(0.001, (1 - remaining / previous) * period - elapsed))
end
redis.call('INCRBY', key, cost)
redis.call('EXPIRE', key, 2 * period)
return '0'
"""


class LimiterUnavailable(Exception):
    """Redis does not answer, so the limit cannot be checked."""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `most` requests (or samples, or bytes) in `seconds` seconds."""

    most: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Parse a rate such as `120/min`, `30/5min` or `100/h`. Return None for `off`.

        Raises:
            ValueError: the text is not a rate.
        """
        if text == "off":
            return None
        match = NOTATION.fullmatch(text)
        if match is None or match["unit"] not in UNITS:
            raise ValueError(f"{text!r} is not a rate such as 120/min, or off.")
        return cls(int(match["limit"]), int(match["count"] or 1) * UNITS[match["unit"]])


@dataclass(slots=True)
class Limit:
    """A named rate limit. Its rate is read from `settings.RATES` at each use."""

    name: str
    fails_open: bool = True  # allow everything while Redis is unavailable
    _window: int = 0
    _counts: dict[str, int] = field(default_factory=dict)
    _denied: dict[str, float] = field(default_factory=dict)

    def spend(self, key: str, cost: int = 1) -> float | None:
        """Count one request of a key, such as an address or a token id.

        Args:
            cost: what the request counts for. A cost above the limit is counted as the limit,
                so that an expensive request is possible once in a period.

        Returns:
            None if the request is allowed, else the seconds to wait.

        Raises:
            LimiterUnavailable: Redis is unavailable, and the limit does not fail open.
        """
        rate = settings.RATES[self.name]
        if rate is None:
            return None
        now = time.monotonic()
        self._reset_if_needed(int(now // rate.seconds))
        if (until := self._denied.get(key)) is not None:
            if now < until:
                return until - now
            self._denied.pop(key, None)  # another thread may have removed it
        count = min(self._counts.get(key, 0) + cost, rate.most)
        if count < rate.most // BATCHES:
            self._counts[key] = count
            return None
        self._counts[key] = 0  # before the call, so that no other thread counts them too
        wait = self._count_in_redis(key, rate, cost=count)
        if wait is not None:
            # The requests allowed so far are not counted in Redis yet. Keep them.
            self._counts[key] = self._counts.get(key, 0) + max(0, count - cost)
            self._deny(key, wait)
        return wait

    def may_spend_ahead(self, key: str) -> bool:
        """Return False if a request of the key has to wait for its count in Redis."""
        rate = settings.RATES[self.name]
        return rate is None or (key not in self._denied and rate.most >= 2 * BATCHES)

    def spend_ahead(self, key: str, cost: int = 1) -> Callable[[], None] | None:
        """Count one request of a client without a call to Redis.

        Returns:
            A function that counts the collected requests in Redis, if it is time to do so, else
            None. The caller runs it in a thread.
        """
        rate = settings.RATES[self.name]
        if rate is None:
            return None
        self._reset_if_needed(int(time.monotonic() // rate.seconds))
        count = min(self._counts.get(key, 0) + cost, rate.most)
        is_full = count >= rate.most // BATCHES
        self._counts[key] = 0 if is_full else count
        return partial(self._count_batch, key, rate, count) if is_full else None

    def _count_batch(self, key: str, rate: Rate, count: int) -> None:
        if wait := self._count_in_redis(key, rate, cost=count):
            self._counts[key] = self._counts.get(key, 0) + count
            self._deny(key, wait)

    def _deny(self, key: str, wait: float) -> None:
        # Try again after one second at the latest, because other processes may need less by then.
        self._denied[key] = time.monotonic() + min(wait, 1.0)

    def _count_in_redis(self, key: str, rate: Rate, *, cost: int) -> float | None:
        try:
            wait = _count(
                f"{settings.KEY_PREFIX}limit:{self.name}:{key}", rate.most, rate.seconds, cost
            )
        except RedisError as error:
            if self.fails_open:
                return None
            raise LimiterUnavailable from error
        return wait or None

    def _reset_if_needed(self, window: int) -> None:
        """Clear the counts if a new window has begun or there are more than `MAX_KEYS` keys."""
        if window != self._window or len(self._counts) > MAX_KEYS:
            self._window = window
            self._counts, self._denied = {}, {}


def spend_ahead(*limits: tuple[Limit, str, int]) -> list[Callable[[], None]] | None:
    """Count one request of a key in each limit, before Redis has confirmed it.

    So a process may exceed a limit by two twentieths.

    Args:
        limits: each with its key and what the request costs.

    Returns:
        functions that count in Redis, usually none, see `Limit.spend_ahead`. None if nothing was
        counted, because `Limit.spend` has to count the request.
    """
    if not all(limit.may_spend_ahead(key) for limit, key, _ in limits):
        return None
    batches = (limit.spend_ahead(key, cost) for limit, key, cost in limits)
    return [batch for batch in batches if batch is not None]


_redis_retry_at = 0.0


def _count(key: str, limit: int, seconds: int, cost: int) -> float:
    global _redis_retry_at
    if time.monotonic() < _redis_retry_at:
        raise RedisError("Redis did not answer a moment ago.")
    try:
        return float(_script(settings.REDIS_COUNTERS_URL)(keys=[key], args=[limit, seconds, cost]))
    except RedisError:
        _redis_retry_at = time.monotonic() + REDIS_RETRY_AFTER
        logger.warning("Redis is unavailable. Rate limits that fail open are not applied.")
        raise


@lru_cache(maxsize=4)
def _script(url: str) -> Any:
    client = Redis.from_url(url, socket_connect_timeout=0.5, socket_timeout=0.5)
    return client.register_script(SCRIPT)
