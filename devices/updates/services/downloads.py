"""Slots in Redis limit how many devices of a tenant download at the same time.

A device keeps its slot until it reports the end of the download, or until it has sent no
request or report for `SLOT_TTL` seconds. Therefore an interrupted download resumes in the
same slot. A slot does not depend on a connection to this server, so the limit also works if
the proxy sends the file.
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

SLOT_TTL = 120  # seconds without a request or report after which a slot is free
RETRY_AFTER = (15, 45)  # seconds; random, so that devices do not all try again at once
REDIS_BACKOFF = 5.0  # seconds without requests to Redis after an error

ACQUIRE = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local has_slot = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not has_slot and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1])
redis.call('EXPIRE', KEYS[1], 2 * tonumber(ARGV[3]))
return 1
"""
EXTEND = """
local now = tonumber(redis.call('TIME')[1])
return redis.call('ZADD', KEYS[1], 'XX', now + tonumber(ARGV[2]), ARGV[1])
"""

_skip_redis_until = 0.0


def acquire_slot(device_id: UUID, *, limit: int) -> int | None:
    """Acquire or extend the download slot of a device.

    If Redis is unavailable, every device gets a slot, because a late update is worse
    than a busy network.

    Args:
        limit: number of download slots of the tenant.

    Returns:
        None if the device has a slot; otherwise the seconds until its next attempt.
    """
    has_slot = _call_redis(
        lambda: _script(settings.REDIS_COUNTERS_URL, ACQUIRE)(
            keys=[_key()], args=[str(device_id), limit, SLOT_TTL]
        )
    )
    return random.randint(*RETRY_AFTER) if has_slot == 0 else None


def extend_slot(device_id: UUID) -> None:
    """Keep the slot of a device that is still downloading."""
    _call_redis(
        lambda: _script(settings.REDIS_COUNTERS_URL, EXTEND)(
            keys=[_key()], args=[str(device_id), SLOT_TTL]
        )
    )


def release_slot(device_id: UUID) -> None:
    """Release the download slot of a device. The download is complete or was given up."""
    _call_redis(lambda: _client(settings.REDIS_COUNTERS_URL).zrem(_key(), str(device_id)))


def _call_redis(call: Any) -> Any:
    """Call Redis and return its response; None if Redis is unavailable."""
    global _skip_redis_until
    if time.monotonic() < _skip_redis_until:
        return None
    try:
        return call()
    except RedisError:
        _skip_redis_until = time.monotonic() + REDIS_BACKOFF
        logger.warning("Redis is unavailable, so concurrent downloads are not limited.")
        return None


def _key() -> str:
    return f"{settings.KEY_PREFIX}downloads:{current_tenant_id()}"


@cache
def _client(url: str) -> Any:
    return Redis.from_url(url, socket_connect_timeout=0.5, socket_timeout=0.5)


@cache
def _script(url: str, text: str) -> Any:
    return _client(url).register_script(text)
