"""Select the channels of new events, in the transaction that writes the events."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from uuid import UUID

from core.inserts import insert_many
from core.prepared_statements import PreparedStatement
from events import extension_points
from events.models import ChannelDelivery, Event
from events.severity import Severity

_CHANNELS = PreparedStatement(
    "channels_of_tenants",
    "text[]",
    # A join, because the plan for any array would compare each channel with each tenant.
    """
    SELECT channel.id, channel.tenant_id, channel.events, channel.least_severity, channel.tag
    FROM unnest($1::uuid[]) AS tenant (id)
    JOIN events_channel AS channel ON channel.tenant_id = tenant.id
    WHERE channel.is_enabled
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

    def passes(self, name: str, severity: Any) -> bool:
        """Return whether events of the tenant pass all filters except the filter by tag.

        The tag is checked separately, because the check requires a query.

        Args:
            name, severity: of the events. The severity is None if they have none.
        """
        if not any(fnmatchcase(name, pattern) for pattern in self.events):
            return False
        if not self.least_severity:
            return True
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
    insert_many(messages)
    return len(messages)


def _matches(events: Sequence[Event], filters: Iterable[Filter]) -> Iterable[tuple[Event, UUID]]:
    # Many events of a tenant have the same name and severity. They are compared once.
    of_tenant: defaultdict[Any, dict[Any, list[Event]]] = defaultdict(dict)
    for event in events:
        key = (event.name, event.data.get("severity"))
        of_tenant[event.tenant_id].setdefault(key, []).append(event)
    for item in filters:
        alike = of_tenant[item.tenant_id].items()
        matches = [event for key, group in alike if item.passes(*key) for event in group]
        if item.tag and matches:
            ids = {event.device_id for event in matches if event.device_id}
            tagged = extension_points.with_tag(item.tag, ids)
            matches = [event for event in matches if event.device_id in tagged]
        for event in matches:
            yield event, item.channel_id
