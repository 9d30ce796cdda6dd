"""How often something may be done: counted in Redis, for all processes and hosts.

A sliding window: what was done in the window before counts by the share of it that
still lies within reach. What is refused is not counted, so whoever waits gets through.

Generous limits are counted in portions: a process asks Redis once for each twentieth
of the limit that it has let through. A device that behaves costs nothing at all, and
each process lets at most a twentieth too much through. Small limits are exact.
"""

import logging
import re
import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self

from django.conf import settings
from redis import Redis, RedisError

logger = logging.getLogger(__name__)

UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hour": 3600, "day": 86_400}
NOTATION = re.compile(
    r"(?P<most>[1-9]\d{0,8})/(?P<count>[1-9]\d{0,3})?(?P<unit>[a-z]+)"
)
PORTIONS = 20
MOST_KEYS = 100_000  # that one process keeps count of
REDIS_REST = 5.0  # seconds for which a Redis that did not answer is not asked again

SCRIPT = """
local most, period, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local window, into = math.floor(now / period), now % period
local key = KEYS[1] .. ':' .. window
local before = tonumber(redis.call('GET', KEYS[1] .. ':' .. (window - 1)) or '0')
local count = tonumber(redis.call('GET', key) or '0')
local room = most - count - cost
if before * (1 - into / period) > room then
    if room < 0 then return tostring(period - into) end
    return tostring(math.max(0.001, (1 - room / before) * period - into))
end
redis.call('INCRBY', key, cost)
redis.call('EXPIRE', key, 2 * period)
return '0'
"""


class LimitsUnknown(Exception):
    """Redis does not answer, so nobody can say whether it may be done."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds."""

    most: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """From `120/min`, `30/5min`, `100/h`; `off` is None.

        Raises:
            ValueError: it is neither.
        """
        if text == "off":
            return None
        match = NOTATION.fullmatch(text)
        if match is None or match["unit"] not in UNITS:
            raise ValueError(f"{text!r} is not a rate such as 120/min, or off.")
        return cls(int(match["most"]), int(match["count"] or 1) * UNITS[match["unit"]])


@dataclass(slots=True)
class Limit:
    """One limit by name; its rate is read from `settings.RATES` at each use."""

    name: str
    fails_open: bool = True  # whether it lets through while Redis is away
    _window: int = 0
    _counts: dict[str, int] = field(default_factory=dict)
    _denied: dict[str, float] = field(default_factory=dict)

    def spend(self, key: str) -> float | None:
        """Count one; None when it may be done, else how many seconds to wait.

        Raises:
            LimitsUnknown: Redis is away, and this limit does not fail open.
        """
        rate: Rate | None = settings.RATES[self.name]
        if rate is None:
            return None
        now = time.monotonic()
        self._forget(int(now // rate.seconds))
        if (until := self._denied.get(key)) is not None:
            if now < until:
                return until - now
            self._denied.pop(key, None)  # another thread may have done it
        count = self._counts.get(key, 0) + 1
        if count < rate.most // PORTIONS:
            self._counts[key] = count
            return None
        wait = self._ask(key, rate, cost=count)
        if wait is None:
            self._counts[key] = 0
        else:  # what was let through is still to be told, before anything else is
            self._counts[key] = count - 1
            self._denied[key] = now + min(wait, 1.0)  # then ask again: others may rest
        return wait

    def _ask(self, key: str, rate: Rate, *, cost: int) -> float | None:
        try:
            wait = _count(
                f"{settings.KEY_PREFIX}limit:{self.name}:{key}",
                rate.most,
                rate.seconds,
                cost,
            )
        except RedisError as error:
            if self.fails_open:
                return None
            raise LimitsUnknown from error
        return wait or None

    def _forget(self, window: int) -> None:
        """Start anew with each window, and before strangers fill the memory."""
        if window != self._window or len(self._counts) > MOST_KEYS:
            self._window = window
            self._counts, self._denied = {}, {}


_resting_until = 0.0


def _count(key: str, most: int, seconds: int, cost: int) -> float:
    global _resting_until
    if time.monotonic() < _resting_until:
        raise RedisError("Redis did not answer a moment ago.")
    try:
        return float(
            _script(settings.REDIS_URL)(keys=[key], args=[most, seconds, cost])
        )
    except RedisError:
        _resting_until = time.monotonic() + REDIS_REST
        logger.warning("Redis is away: limits that may, let everything through")
        raise


@lru_cache(maxsize=4)
def _script(url: str) -> Any:
    client: Any = Redis.from_url(url, socket_connect_timeout=0.5, socket_timeout=0.5)
    return client.register_script(SCRIPT)
