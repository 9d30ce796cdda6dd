"""Notify open portal pages of changes through Redis.

A notification contains the ids of the changed devices and the names of the events. Pages
then load the new data. A background thread publishes the notifications after the commit and
merges changes that follow closely. While Redis is unavailable, pages poll.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import UUID

from django.conf import settings
from redis import Redis, RedisError

from core.background import BackgroundCall
from events import topics
from events.models import Event

MAX_DEVICES = 200  # in a notification; if there are more, all pages are refreshed


@dataclass(slots=True)
class Hint:
    """The changes of one tenant since the last notification."""

    names: set[str] = field(default_factory=set)
    devices: set[UUID] = field(default_factory=set)

    def as_json(self, tenant_id: UUID | None) -> str:
        devices = None
        if len(self.devices) <= MAX_DEVICES:
            devices = sorted(map(str, self.devices))
        return json.dumps(
            {"tenant": str(tenant_id or ""), "names": sorted(self.names), "devices": devices}
        )


_lock = threading.Lock()
_hints: defaultdict[UUID | None, Hint] = defaultdict(Hint)


def changed(events: Iterable[Event]) -> None:
    """Queue a notification for the open pages of the tenants to which the events belong."""
    with _lock:
        for event in events:
            hint = _hints[event.tenant_id]
            hint.names.add(event.name)
            if event.device_id is not None and len(hint.devices) <= MAX_DEVICES:
                hint.devices.add(event.device_id)
    _request_publishing()


def publish() -> None:
    """Publish the collected changes.

    Raises:
        RedisError: Redis is unavailable. The collected changes are dropped.
    """
    with _lock:
        hints = dict(_hints)
        _hints.clear()
    for tenant_id, hint in hints.items():
        _client(settings.REDIS_PUSH_URL).publish(
            topics.page_updates_channel(), hint.as_json(tenant_id)
        )


@cache
def _client(url: str) -> Any:
    return Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1)


_request_publishing = BackgroundCall(publish, RedisError)
