"""Create, change, test and delete channels, and send messages again."""

import ipaddress
import math
import re
from datetime import datetime
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from core.limits import Limit
from core.querysets import first_or_raise
from core.tasks import enqueue_on_commit
from events.errors import (
    ChannelExists,
    EventGone,
    InvalidChannel,
    MessageWaiting,
    NoSuchChannel,
    NoSuchMessage,
    TooManyTests,
)
from events.event_classes import event_classes, matching_names
from events.events import (
    ChannelCreated,
    ChannelDeleted,
    ChannelSecretRotated,
    ChannelTested,
    ChannelUpdated,
)
from events.models import Channel, ChannelDelivery, Event
from events.services import channel_health, channel_secrets
from events.services.channel_health import event_fields
from events.services.outbound_http import is_allowed
from events.services.outbox import record

MAX_RECIPIENTS = 20
MAX_PATTERNS = 50
TESTS = Limit("channel_test")
PATTERN = re.compile(r"[a-z_*]+(\.[a-z_*]+)?")


@transaction.atomic
def create(*, now: datetime, **fields: Any) -> tuple[Channel, str | None]:
    """Create a channel of the current tenant.

    Args:
        now: current time.
        fields: fields of the channel.

    Returns:
        The channel and, for a webhook, its secret. The secret is stored encrypted.

    Raises:
        InvalidChannel: a field is invalid.
        ChannelExists: another channel has this name.
    """
    channel = Channel(created_at=now, **fields)
    _validate(channel)
    _validate_event_names(channel)
    secret = None
    if channel.kind == Channel.Kind.WEBHOOK:
        secret = channel_secrets.generate(channel)
    _save(channel, force_insert=True)
    record([ChannelCreated(**event_fields(channel, now))])
    return channel, secret


@transaction.atomic
def update(*, channel: Channel, now: datetime, **fields: Any) -> Channel:
    """Change fields of a channel.

    Raises:
        InvalidChannel: a field is invalid.
        ChannelExists: another channel has this name.
        NoSuchChannel: the channel was deleted.
    """
    locked = _lock(channel)
    changes = {
        name: (getattr(locked, name), value)
        for name, value in fields.items()
        if getattr(locked, name) != value
    }
    for name, (_, value) in changes.items():
        setattr(locked, name, value)
    _validate(locked)
    if changes.keys() & {"events"}:
        _validate_event_names(locked)
    if changes.keys() & {"url", "recipients", "is_enabled"}:
        channel_health.clear(locked)
        locked.rests_until = None
    if changes:
        _save(locked)
        redacted = {name: _redact(name, pair) for name, pair in changes.items()}
        record([ChannelUpdated(**event_fields(locked, now), changes=redacted)])
    return locked


@transaction.atomic
def delete(*, channel: Channel, now: datetime) -> None:
    """Delete a channel with its messages. Waiting messages are not sent.

    Raises:
        NoSuchChannel: the channel was already deleted.
    """
    locked = _lock(channel)
    record([ChannelDeleted(**event_fields(locked, now))])
    locked.delete()


@transaction.atomic
def rotate_secret(*, channel: Channel, now: datetime) -> str:
    """Replace the secret of a webhook and return the new secret.

    For one day, requests are signed with both the new and the former secret.

    Raises:
        InvalidChannel: the channel is not a webhook.
        NoSuchChannel: the channel was deleted.
    """
    locked = _lock(channel)
    if locked.kind != Channel.Kind.WEBHOOK:
        raise InvalidChannel("Only webhooks have a secret.")
    secret = channel_secrets.rotate(locked, now=now)
    locked.save(update_fields=["secret", "former_secret", "former_secret_until"])
    record([ChannelSecretRotated(**event_fields(locked, now))])
    return secret


@transaction.atomic
def test(*, channel: Channel, now: datetime) -> ChannelDelivery:
    """Queue a test message to a channel, regardless of the channel's filters and pauses.

    Returns:
        The waiting message. A worker sends it, and its log then contains the result.

    Raises:
        TooManyTests: the tenant has tested its channels too often.
    """
    if wait := TESTS.spend(str(channel.tenant_id)):
        raise TooManyTests(retry_after=math.ceil(wait))
    record([ChannelTested(**event_fields(channel, now))])
    events = Event.objects.named(ChannelTested.name)
    event = events.filter(data__channel_id=str(channel.pk)).latest("id")
    message: ChannelDelivery
    # The message exists already if the event passes the channel's filters.
    message, _ = ChannelDelivery.objects.get_or_create(
        channel=channel,
        event_id=event.pk,
        defaults={"name": event.name, "created_at": now, "due_at": now},
    )
    enqueue_on_commit("events.tasks.send_to_channels")
    return message


@transaction.atomic
def replay(*, message_id: int, now: datetime) -> ChannelDelivery:
    """Send a delivered or dead message again.

    Raises:
        NoSuchMessage: there is no message with this id.
        MessageWaiting: the message is waiting to be sent.
        EventGone: the event was deleted.
    """
    messages = ChannelDelivery.objects.select_for_update(of=("self",))
    message = first_or_raise(messages.filter(pk=message_id), NoSuchMessage)
    if message.state == "waiting":
        raise MessageWaiting
    if not Event.objects.filter(pk=message.event_id).exists():
        raise EventGone
    message.delivered_at = message.dead_at = None
    message.attempts, message.due_at = 0, now
    message.save(update_fields=["delivered_at", "dead_at", "attempts", "due_at"])
    return message


def _lock(channel: Channel) -> Channel:
    """Lock the channel until the transaction ends. `fan_out` waits for this lock."""
    return first_or_raise(Channel.objects.select_for_update().filter(pk=channel.pk), NoSuchChannel)


def _redact(name: str, pair: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return the old and the new value of a field for the audit log, which viewers can read.

    URLs and mail addresses may be confidential. Only the host name of a URL and the number
    of recipients are logged.
    """
    match name:
        case "url":
            before, after = (urlsplit(url).hostname for url in pair)
        case "recipients":
            before, after = (f"{len(recipients)} recipients" for recipients in pair)
        case _:
            return pair
    return before, after


def _validate(channel: Channel) -> None:
    if not channel.events or len(channel.events) > MAX_PATTERNS:
        raise InvalidChannel(
            f"Enter from 1 to {MAX_PATTERNS} event names or patterns.", field="events"
        )
    for pattern in channel.events:
        if len(pattern) > 64 or not PATTERN.fullmatch(pattern):
            raise InvalidChannel(
                "Enter event names such as alert.opened, or patterns such as alert.*"
                " (lower-case letters, _ and *; at most 64 characters).",
                field="events",
            )
    if channel.kind == Channel.Kind.WEBHOOK:
        channel.recipients = []
        _validate_url(channel.url)
    else:
        channel.url = ""
        _validate_recipients(channel.recipients)


def _validate_event_names(channel: Channel) -> None:
    """Check that each name or pattern selects an event. Names of earlier releases are kept."""
    for pattern in channel.events:
        if matching_names(pattern):
            continue
        close = get_close_matches(pattern, event_classes(), n=1)
        hint = f" Did you mean {close[0]}?" if close else " GET /channels/event-names lists all."
        raise InvalidChannel(f"No event is named {pattern}.{hint}", field="events")


def _validate_url(url: str) -> None:
    """Check a URL without a DNS query. Host names are checked when a message is sent."""
    invalid = InvalidChannel(
        "Enter an http or https URL such as https://example.com/hook,"
        " without user name and password.",
        field="url",
    )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise invalid from error
    printable = re.fullmatch(r"[\x21-\x7e]{1,500}", url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not printable:
        raise invalid
    if parts.username is not None or parts.password is not None or port == 0:
        raise invalid
    try:
        address = ipaddress.ip_address(parts.hostname)
    except ValueError:
        return
    if not is_allowed(address):
        raise InvalidChannel(
            "The address is in an internal network. Enter a public address.", field="url"
        )


def _validate_recipients(recipients: list[str]) -> None:
    if not settings.EMAIL_HOST:
        raise InvalidChannel("This installation cannot send mail because EMAIL_HOST is not set.")
    if not 1 <= len(recipients) <= MAX_RECIPIENTS:
        raise InvalidChannel(f"Enter from 1 to {MAX_RECIPIENTS} recipients.", field="recipients")
    for recipient in recipients:
        try:
            validate_email(recipient)
        except ValidationError as error:
            raise InvalidChannel(
                f"{recipient!r} is not a valid e-mail address.", field="recipients"
            ) from error


def _save(channel: Channel, *, force_insert: bool = False) -> None:
    try:
        with transaction.atomic():
            channel.save(force_insert=force_insert)
    except IntegrityError as error:
        if "channel_once" not in str(error):
            raise
        raise ChannelExists(
            f"A channel named {channel.name!r} already exists.", field="name"
        ) from error
