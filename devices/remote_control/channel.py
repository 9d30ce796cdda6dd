"""Devices that hold the push channel hear within moments that a command waits for them.

A wake-up is a hint: a device's id and the number of its last command. It goes out after
the commit, from a thread of its own. When Redis is away, the command waits where it is,
in the database, and the device finds it with its next connect.
"""

import json
import threading
from collections.abc import Mapping
from functools import cache, partial
from itertools import islice
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from redis import Redis, RedisError

from events.waking import Waker

MOST_AT_ONCE = 2000  # devices in one message

_lock = threading.Lock()
_gathered: dict[str, int] = {}


def topic() -> str:
    """The channel of Redis that every process of the push channel listens to."""
    return f"{settings.KEY_PREFIX}commands"


def wake(sequences: Mapping[UUID, int]) -> None:
    """Have devices told, once it is committed, which number their last command has."""
    transaction.on_commit(partial(_gather, dict(sequences)), robust=True)


def _gather(sequences: dict[UUID, int]) -> None:
    _keep({str(device_id): sequence for device_id, sequence in sequences.items()})
    _wake()


def _publish() -> None:
    """
    Raises:
        RedisError: Redis is away; what was not told goes with the next.
    """
    while _gathered:
        with _lock:
            told = dict(islice(_gathered.items(), MOST_AT_ONCE))
            for name in told:
                del _gathered[name]
        try:
            _client(settings.REDIS_URL).publish(topic(), json.dumps(told))
        except RedisError:
            _keep(told)
            raise


def _keep(sequences: Mapping[str, int]) -> None:
    with _lock:
        for name, sequence in sequences.items():
            _gathered[name] = max(sequence, _gathered.get(name, 0))


@cache
def _client(url: str) -> Any:
    return Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1)


_wake = Waker(_publish, away=RedisError, pause=0.0, asks_again=True)
