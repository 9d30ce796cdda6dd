"""Publish push notifications to devices about waiting commands and updates.

A notification contains a device's id and the sequence number of its last command, or
that an update is available. After the commit, a background thread publishes the
notification through Redis. The push server passes it on to connected devices.

Notifications are hints only. If Redis is unavailable, commands and updates stay in the
database, and the device fetches them after its next `connect` request.
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

MAX_DEVICES = 2000  # in one message

_lock = threading.Lock()
_pending_sequences: dict[str, int] = {}
_pending_updates: set[str] = set()


def topic() -> str:
    """Return the Redis channel that every push server process subscribes to."""
    return f"{settings.KEY_PREFIX}commands"


def notify_commands(sequences: Mapping[UUID, int]) -> None:
    """When the transaction commits, notify each device of its last sequence number."""
    transaction.on_commit(partial(_add_commands, dict(sequences)), robust=True)


def notify_updates(device_ids: Collection[UUID]) -> None:
    """When the transaction commits, notify devices that an update is available for them."""
    transaction.on_commit(partial(_add_updates, set(device_ids)), robust=True)


def _add_updates(device_ids: set[UUID]) -> None:
    with _lock:
        _pending_updates.update(map(str, device_ids))
    _request_publishing()


def _add_commands(sequences: dict[UUID, int]) -> None:
    _add_sequences({str(device_id): sequence for device_id, sequence in sequences.items()})
    _request_publishing()


def _publish() -> None:
    """Publish all pending notifications.

    Raises:
        RedisError: Redis is unavailable. Unpublished notifications stay pending.
    """
    while _pending_sequences or _pending_updates:
        with _lock:
            commands = dict(islice(_pending_sequences.items(), MAX_DEVICES))
            updates = set(islice(_pending_updates, MAX_DEVICES))
            for device_id in commands:
                del _pending_sequences[device_id]
            _pending_updates.difference_update(updates)
        message = {"commands": commands, "updates": sorted(updates)}
        try:
            _client(settings.REDIS_PUSH_URL).publish(topic(), json.dumps(message))
        except RedisError:
            _add_sequences(commands)
            with _lock:
                _pending_updates.update(updates)
            raise


def _add_sequences(sequences: Mapping[str, int]) -> None:
    with _lock:
        for device_id, sequence in sequences.items():
            _pending_sequences[device_id] = max(sequence, _pending_sequences.get(device_id, 0))


@cache
def _client(url: str) -> Any:
    return Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1)


_request_publishing = BackgroundCall(_publish, RedisError, pause=0.0, retries=True)
