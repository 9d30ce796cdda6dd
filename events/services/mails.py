"""Events as a mail: one alone, or many as a digest."""

from collections.abc import Sequence

from django.conf import settings
from django.core.mail import EmailMessage
from django.urls import reverse

from events.models import Event

MOST_LISTED = 100


def mail(
    events: Sequence[Event],
    *,
    names: dict[object, str],
    recipients: Sequence[str],
    channel_name: str,
) -> EmailMessage:
    """The mail that tells of these events; `names` are those of their devices."""
    lines = [_line(event, names) for event in events[:MOST_LISTED]]
    if len(events) > MOST_LISTED:
        lines.append(f"… and {len(events) - MOST_LISTED:,} more.")
    where = f"{settings.PUBLIC_URL}{reverse('admin:index')}"
    lines += ["", where, f'You get this because of the channel "{channel_name}".']
    alone = len(events) == 1
    subject = _headline(events[0], names) if alone else f"{len(events):,} events"
    return EmailMessage(
        subject=f"[provisioning] {' '.join(subject.split())}"[:200],
        body="\n".join(lines),
        to=list(recipients),
    )


def _line(event: Event, names: dict[object, str]) -> str:
    return f"{event.at:%Y-%m-%d %H:%M:%S} UTC  {_headline(event, names)}"


def _headline(event: Event, names: dict[object, str]) -> str:
    severity = event.data.get("severity")
    said = event.data.get("title") or ""
    parts = [
        f"{severity}:" if severity else "",
        event.name,
        f"- {said}" if said else "",
    ]
    device = names.get(event.device_id, "")
    if device:
        parts.append(f"({device})")
    return " ".join(part for part in parts if part)
