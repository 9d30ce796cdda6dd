"""Open pages hear within moments that something has changed, and what.

A hint, not a copy: pages ask for what they show. It goes out after the commit, from a
thread of its own, many changes as one; when Redis is away, pages ask by themselves.
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

MOST_DEVICES = 200  # that one hint names; with more, every page asks


@dataclass(slots=True)
class Hint:
    """What has changed of one tenant since the last hint."""

    names: set[str] = field(default_factory=set)
    devices: set[UUID] = field(default_factory=set)

    def as_json(self, tenant_id: UUID | None) -> str:
        few = len(self.devices) <= MOST_DEVICES
        return json.dumps(
            {
                "tenant": str(tenant_id or ""),
                "names": sorted(self.names),
                "devices": sorted(map(str, self.devices)) if few else None,
            }
        )


_lock = threading.Lock()
_hints: defaultdict[UUID | None, Hint] = defaultdict(Hint)


def changed(events: Iterable[Event]) -> None:
    """Have the pages of the events' tenants told soon."""
    with _lock:
        for event in events:
            hint = _hints[event.tenant_id]
            hint.names.add(event.name)
            if event.device_id is not None and len(hint.devices) <= MOST_DEVICES:
                hint.devices.add(event.device_id)
    _request_publishing()


def publish() -> None:
    """Send what has gathered.

    Raises:
        RedisError: Redis is away; what had gathered is forgotten.
    """
    with _lock:
        gathered = dict(_hints)
        _hints.clear()
    for tenant_id, hint in gathered.items():
        _client(settings.REDIS_URL).publish(topics.live(), hint.as_json(tenant_id))


@cache
def _client(url: str) -> Any:
    return Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1)


_request_publishing = BackgroundCall(publish, RedisError)
