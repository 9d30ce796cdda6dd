"""Devices that hold the push channel hear within moments that something waits for them.

A wake-up is a hint: a device's id and the number of its last command, or that there is
an update. It goes out after the commit, from a thread of its own. When Redis is away,
what waits does so where it is, in the database, and the device finds it with its next
connect.
"""

import json
import threading
from collections.abc import Collection, Mapping
from functools import cache, partial
from itertools import islice
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from redis import Redis, RedisError

from core.background import BackgroundCall

MOST_AT_ONCE = 2000  # devices in one message

_lock = threading.Lock()
_gathered: dict[str, int] = {}
_updated: set[str] = set()


def topic() -> str:
    """The channel of Redis that every process of the push channel listens to."""
    return f"{settings.KEY_PREFIX}commands"


def wake(sequences: Mapping[UUID, int]) -> None:
    """Have devices told, once it is committed, which number their last command has."""
    transaction.on_commit(partial(_gather, dict(sequences)), robust=True)


def tell_of_updates(device_ids: Collection[UUID]) -> None:
    """Have devices told, once it is committed, that an update is meant for them."""
    transaction.on_commit(partial(_gather_updated, set(device_ids)), robust=True)


def _gather_updated(device_ids: set[UUID]) -> None:
    with _lock:
        _updated.update(map(str, device_ids))
    _request_publishing()


def _gather(sequences: dict[UUID, int]) -> None:
    _keep({str(device_id): sequence for device_id, sequence in sequences.items()})
    _request_publishing()


def _publish() -> None:
    """
    Raises:
        RedisError: Redis is away; what was not told goes with the next.
    """
    while _gathered or _updated:
        with _lock:
            told = dict(islice(_gathered.items(), MOST_AT_ONCE))
            updated = set(islice(_updated, MOST_AT_ONCE))
            for name in told:
                del _gathered[name]
            _updated.difference_update(updated)
        said = {"commands": told, "updates": sorted(updated)}
        try:
            _client(settings.REDIS_URL).publish(topic(), json.dumps(said))
        except RedisError:
            _keep(told)
            with _lock:
                _updated.update(updated)
            raise


def _keep(sequences: Mapping[str, int]) -> None:
    with _lock:
        for name, sequence in sequences.items():
            _gathered[name] = max(sequence, _gathered.get(name, 0))


@cache
def _client(url: str) -> Any:
    return Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1)


_request_publishing = BackgroundCall(_publish, RedisError, pause=0.0, retries=True)
