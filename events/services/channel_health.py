"""Note whether messages to a channel succeed, and tell members of channels that do not work."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from events.events import ChannelDisabled, ChannelFailing, ChannelRecovered
from events.models import Channel
from events.services.outbox import record

REPORTED_AFTER = timedelta(days=1)
MAX_PAUSE = timedelta(days=1)
GONE = 410  # RFC 9110 §15.5.11: the receiver does not exist any more


@transaction.atomic
def note_success(channel: Channel, *, now: datetime) -> None:
    """Note that a message succeeded."""
    if channel.failing_since is None:
        return
    locked = _lock(channel.pk)
    if locked is None:
        return
    if locked.failing_reported_at is not None:
        record([ChannelRecovered(**event_fields(locked, now))])
    clear(locked)
    locked.save(update_fields=["failing_since", "failing_reason", "failing_reported_at"])


@transaction.atomic
def note_failure(
    channel: Channel, *, status: int | None, reason: str, pause: timedelta | None, now: datetime
) -> None:
    """Note that a message failed. Pause the channel, or switch it off if the receiver is gone.

    Args:
        status: the status of the HTTP response, None if there was none.
        pause: time for which the channel gets no messages, None for no pause.
    """
    locked = _lock(channel.pk)
    if locked is None:
        return
    locked.failing_since = locked.failing_since or now
    locked.failing_reason = " ".join(f"{status or ''} {reason}".split())[:200]
    if pause is not None:
        locked.rests_until = now + min(pause, MAX_PAUSE)
    if status == GONE and locked.is_enabled:
        locked.is_enabled = False
        reason = "The receiver answered 410 (gone)."
        record([ChannelDisabled(**event_fields(locked, now), reason=reason)])
    locked.save(update_fields=["failing_since", "failing_reason", "rests_until", "is_enabled"])


@transaction.atomic
def report_failing(*, now: datetime) -> int:
    """Record an event for each channel that has failed for a day. Return their number."""
    failing = Channel.every_tenant.filter(
        is_enabled=True, failing_since__lte=now - REPORTED_AFTER, failing_reported_at=None
    )
    channels = list(failing.select_for_update(skip_locked=True, no_key=True))
    record(
        ChannelFailing(
            **event_fields(channel, now),
            since=channel.failing_since.isoformat() if channel.failing_since else "",
            reason=channel.failing_reason,
        )
        for channel in channels
    )
    Channel.every_tenant.filter(pk__in=[channel.pk for channel in channels]).update(
        failing_reported_at=now
    )
    return len(channels)


def clear(channel: Channel) -> None:
    """Forget failures, without saving the channel."""
    channel.failing_since = channel.failing_reported_at = None
    channel.failing_reason = ""


def _lock(channel_id: UUID) -> Channel | None:
    return Channel.every_tenant.select_for_update(no_key=True).filter(pk=channel_id).first()


def event_fields(channel: Channel, now: datetime) -> dict[str, Any]:
    """Return the fields that all events of a channel have."""
    return {
        "tenant_id": channel.tenant_id,
        "at": now,
        "channel_id": str(channel.pk),
        "channel_name": channel.name,
    }
