"""How many of a tenant's devices download at a time: places, in Redis, for all hosts.

A device has its place from its first byte until it says that it installs, or until
nothing was heard of it for a while. So a download that broke off goes on in its place,
and who hands the file out (this process or the proxy) makes no difference.
"""

import logging
import random
import time
from functools import cache
from typing import Any
from uuid import UUID

from django.conf import settings
from redis import Redis, RedisError

from tenants.context import current_tenant_id

logger = logging.getLogger(__name__)

KEPT = 120  # seconds without a word, after which a place is free again
COME_AGAIN = (15, 45)  # seconds: chance keeps those that wait from coming all at once
REST = 5.0  # seconds for which a Redis that did not answer is not asked again

TAKE = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local has_it = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not has_it and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1])
redis.call('EXPIRE', KEYS[1], 2 * tonumber(ARGV[3]))
return 1
"""
KEEP = """
local now = tonumber(redis.call('TIME')[1])
return redis.call('ZADD', KEYS[1], 'XX', now + tonumber(ARGV[2]), ARGV[1])
"""

_resting_until = 0.0


def take_place(device_id: UUID, *, most: int) -> int | None:
    """Have a place among those that download, or keep it.

    Without Redis everybody has one: an update that does not come is worse than a line
    that is busy.

    Returns:
        None, or after how many seconds to ask again.
    """
    has_it = _asked(
        lambda: _script(settings.REDIS_URL, TAKE)(
            keys=[_key()], args=[str(device_id), most, KEPT]
        )
    )
    return random.randint(*COME_AGAIN) if has_it == 0 else None


def keep_place(device_id: UUID) -> None:
    """It is still downloading."""
    _asked(
        lambda: _script(settings.REDIS_URL, KEEP)(
            keys=[_key()], args=[str(device_id), KEPT]
        )
    )


def leave_place(device_id: UUID) -> None:
    """It has what it wanted, or wants it no more."""
    _asked(lambda: _client(settings.REDIS_URL).zrem(_key(), str(device_id)))


def _asked(ask: Any) -> Any:
    """The answer of Redis; None while it is away."""
    global _resting_until
    if time.monotonic() < _resting_until:
        return None
    try:
        return ask()
    except RedisError:
        _resting_until = time.monotonic() + REST
        logger.warning("Redis is away: nobody counts how many devices download.")
        return None


def _key() -> str:
    return f"{settings.KEY_PREFIX}downloads:{current_tenant_id()}"


@cache
def _client(url: str) -> Any:
    return Redis.from_url(url, socket_connect_timeout=0.5, socket_timeout=0.5)


@cache
def _script(url: str, text: str) -> Any:
    return _client(url).register_script(text)
