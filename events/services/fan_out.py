"""Which channels are told of an event: decided in the transaction that writes it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from uuid import UUID

from core.prepared_statements import Prepared
from events import extension_points
from events.models import ChannelDelivery, Event
from events.severity import Severity

_CHANNELS = Prepared(
    "channels_of_tenants",
    "text[]",
    """
    SELECT id, tenant_id, events, least_severity, tag FROM events_channel
    WHERE tenant_id = ANY($1::uuid[]) AND is_enabled
    """,
)

_STILL_THERE = Prepared(
    "channels_still_there",
    "text[]",
    "SELECT id FROM events_channel WHERE id = ANY($1::uuid[]) FOR KEY SHARE",
)


@dataclass(frozen=True, slots=True)
class Filter:
    """What a channel wants to hear of."""

    channel_id: UUID
    tenant_id: UUID
    events: Sequence[str]  # names, or patterns such as alert.*
    least_severity: str
    tag: str

    def passes(self, event: Event) -> bool:
        """All but the tag, which has to be looked up."""
        if event.tenant_id != self.tenant_id:
            return False
        if not any(fnmatchcase(event.name, pattern) for pattern in self.events):
            return False
        if not self.least_severity:
            return True
        severity = event.data.get("severity")
        known = severity in Severity.values
        return known and not Severity(self.least_severity).exceeds(severity)


def fan_out(events: Sequence[Event]) -> int:
    """Write down who is to be told of these; return how many messages that makes."""
    tenants = {event.tenant_id for event in events if event.tenant_id is not None}
    if not tenants:
        return 0
    rows = _CHANNELS.rows([str(tenant_id) for tenant_id in tenants])
    matches = list(_matches(events, [Filter(*row) for row in rows]))
    if not matches:
        return 0
    # Held until the end, or a channel removed meanwhile would undo the whole change.
    wanted = {str(channel_id) for _, channel_id in matches}
    there = {channel_id for (channel_id,) in _STILL_THERE.rows(sorted(wanted))}
    messages = [
        ChannelDelivery(
            tenant_id=event.tenant_id,
            channel_id=channel_id,
            event_id=event.pk,
            name=event.name,
            device_id=event.device_id,
            created_at=event.at,
            due_at=event.at,
        )
        for event, channel_id in matches
        if channel_id in there
    ]
    ChannelDelivery.every_tenant.bulk_create(messages, batch_size=2000)
    return len(messages)


def _matches(
    events: Sequence[Event], filters: Iterable[Filter]
) -> Iterable[tuple[Event, UUID]]:
    for chosen in filters:
        passing = [event for event in events if chosen.passes(event)]
        if chosen.tag and passing:
            ids: set[Any] = {event.device_id for event in passing if event.device_id}
            worn = extension_points.with_tag(chosen.tag, ids)
            passing = [event for event in passing if event.device_id in worn]
        for event in passing:
            yield event, chosen.channel_id
