"""Select the channels of new events, in the transaction that writes the events."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from uuid import UUID

from core.prepared_statements import PreparedStatement
from events import extension_points
from events.models import ChannelDelivery, Event
from events.severity import Severity

_CHANNELS = PreparedStatement(
    "channels_of_tenants",
    "text[]",
    """
    SELECT id, tenant_id, events, least_severity, tag FROM events_channel
    WHERE tenant_id = ANY($1::uuid[]) AND is_enabled
    """,
)

_LOCK_EXISTING = PreparedStatement(
    "channels_still_there",
    "text[]",
    "SELECT id FROM events_channel WHERE id = ANY($1::uuid[]) FOR KEY SHARE",
)


@dataclass(frozen=True, slots=True)
class Filter:
    """The event filter of a channel."""

    channel_id: UUID
    tenant_id: UUID
    events: Sequence[str]  # names or patterns such as alert.*
    least_severity: str
    tag: str

    def passes(self, event: Event) -> bool:
        """Return whether an event of the tenant passes all filters except the filter by tag.

        The tag is checked separately, because the check requires a query.
        """
        if not any(fnmatchcase(event.name, pattern) for pattern in self.events):
            return False
        if not self.least_severity:
            return True
        severity = event.data.get("severity")
        has_severity = severity in Severity.values
        return has_severity and not Severity(self.least_severity).exceeds(severity)


def fan_out(events: Sequence[Event]) -> int:
    """Create the messages of new events to channels. Return the number of messages."""
    tenants = {event.tenant_id for event in events if event.tenant_id is not None}
    if not tenants:
        return 0
    rows = _CHANNELS.fetch_all([str(tenant_id) for tenant_id in tenants])
    matches = list(_matches(events, [Filter(*row) for row in rows]))
    if not matches:
        return 0
    # Lock the channels until the transaction ends. If a channel were deleted in the meantime,
    # the foreign key of its messages would fail and the whole change would be rolled back.
    ids = {str(channel_id) for _, channel_id in matches}
    existing = {channel_id for (channel_id,) in _LOCK_EXISTING.fetch_all(sorted(ids))}
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
        if channel_id in existing
    ]
    ChannelDelivery.every_tenant.bulk_create(messages, batch_size=2000)
    return len(messages)


def _matches(events: Sequence[Event], filters: Iterable[Filter]) -> Iterable[tuple[Event, UUID]]:
    of_tenant = defaultdict(list)
    for event in events:
        of_tenant[event.tenant_id].append(event)
    for item in filters:
        matches = [event for event in of_tenant[item.tenant_id] if item.passes(event)]
        if item.tag and matches:
            ids = {event.device_id for event in matches if event.device_id}
            tagged = extension_points.with_tag(item.tag, ids)
            matches = [event for event in matches if event.device_id in tagged]
        for event in matches:
            yield event, item.channel_id
