"""Format a single event, or a digest of several events, as a mail."""

from collections.abc import Sequence

from django.conf import settings
from django.core.mail import EmailMessage
from django.urls import reverse

from events.event_classes import link_to
from events.models import Channel, Event

MAX_LISTED = 100


def mail(events: Sequence[Event], *, names: dict[object, str], channel: Channel) -> EmailMessage:
    """Return an unsent mail about one or more events.

    Args:
        events: at least one event.
        names: display names of the events' devices by id.
        channel: the channel with its tenant.
    """
    slug = channel.tenant.slug
    lines = [_line(event, names, slug) for event in events[:MAX_LISTED]]
    if len(events) > MAX_LISTED:
        lines.append(f"… and {len(events) - MAX_LISTED:,} more.")
    portal_url = f"{settings.PUBLIC_URL}/t/{slug}{reverse('admin:index')}"
    footer = f'You receive this mail through the channel "{channel.name}".'
    lines += ["", portal_url, footer]
    subject = _headline(events[0], names) if len(events) == 1 else f"{len(events):,} events"
    return EmailMessage(
        subject=f"[provisioning] {' '.join(subject.split())}"[:200],
        body="\n".join(lines),
        to=list(channel.recipients),
    )


def _line(event: Event, names: dict[object, str], slug: str) -> str:
    line = f"{event.at:%Y-%m-%d %H:%M:%S} UTC  {_headline(event, names)}"
    link = link_to(event, slug)
    return f"{line}\n    {link}" if link else line


def _headline(event: Event, names: dict[object, str]) -> str:
    severity = event.data.get("severity")
    title = event.data.get("title") or ""
    parts = [f"{severity}:" if severity else "", event.name, f"- {title}" if title else ""]
    device = names.get(event.device_id, "")
    if device:
        parts.append(f"({device})")
    return " ".join(part for part in parts if part)
