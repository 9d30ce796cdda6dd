"""What is done to channels and to the messages that go over them."""

import ipaddress
import re
import threading
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from events.errors import (
    ChannelExists,
    EventIsGone,
    InvalidChannel,
    NoSuchChannel,
    NoSuchMessage,
    NotOver,
    TooManyTests,
)
from events.events import (
    ChannelCreated,
    ChannelDeleted,
    ChannelSecretRotated,
    ChannelTested,
    ChannelUpdated,
)
from events.models import Channel, ChannelDelivery, Event
from events.services import channel_delivery, channel_secrets
from events.services.outbound_http import may_be_reached
from events.services.outbox import record

MOST_RECIPIENTS = 20
MOST_PATTERNS = 50
_testing = threading.BoundedSemaphore(2)  # requests are waited for on few threads
PATTERN = re.compile(r"[a-z_*]+(\.[a-z_*]+)?")


@transaction.atomic
def create(*, now: datetime, **said: Any) -> tuple[Channel, str | None]:
    """A new channel of the current tenant, and the secret of a webhook, shown once.

    Raises:
        InvalidChannel: what it says cannot be.
        ChannelExists: there is one of this name.
    """
    channel = Channel(created_at=now, **said)
    _check(channel)
    secret = None
    if channel.kind == Channel.Kind.WEBHOOK:
        secret = channel_secrets.make(channel)
    _save(channel, force_insert=True)
    record([ChannelCreated(**_about(channel, now))])
    return channel, secret


@transaction.atomic
def update(*, channel: Channel, now: datetime, **said: Any) -> Channel:
    """Change what is told, or to whom.

    Raises:
        InvalidChannel, ChannelExists: as for a new one.
        NoSuchChannel: it was removed a moment ago.
    """
    held = _hold(channel)
    changes = {
        name: (getattr(held, name), value)
        for name, value in said.items()
        if getattr(held, name) != value
    }
    for name, (_, value) in changes.items():
        setattr(held, name, value)
    _check(held)
    if changes:
        _save(held)
        told = {name: _told(name, pair) for name, pair in changes.items()}
        record([ChannelUpdated(**_about(held, now), changes=told)])
    return held


@transaction.atomic
def delete(*, channel: Channel, now: datetime) -> None:
    """Tell nobody over it any more; what is still waiting is not sent.

    Raises:
        NoSuchChannel: it was removed a moment ago.
    """
    held = _hold(channel)
    record([ChannelDeleted(**_about(held, now))])
    held.delete()


@transaction.atomic
def rotate_secret(*, channel: Channel, now: datetime) -> str:
    """A new secret, shown once; for a day requests are signed with both.

    Raises:
        InvalidChannel: it has none.
        NoSuchChannel: it was removed a moment ago.
    """
    held = _hold(channel)
    if held.kind != Channel.Kind.WEBHOOK:
        raise InvalidChannel("Only a webhook has a secret.")
    secret = channel_secrets.replace(held, now=now)
    held.save(update_fields=["secret", "former_secret", "former_secret_until"])
    record([ChannelSecretRotated(**_about(held, now))])
    return secret


def test(*, channel: Channel, now: datetime) -> ChannelDelivery:
    """Send something at once, past every filter; the message says what came of it.

    Raises:
        TooManyTests: others are being tried by this process.
    """
    if not _testing.acquire(blocking=False):
        raise TooManyTests
    try:
        return _test(channel, now)
    finally:
        _testing.release()


def _test(channel: Channel, now: datetime) -> ChannelDelivery:
    with transaction.atomic():
        record([ChannelTested(**_about(channel, now))])
        tested = Event.objects.named(ChannelTested.name)
        event = tested.filter(data__channel_id=str(channel.pk)).latest("id")
        message, _ = ChannelDelivery.objects.get_or_create(
            channel=channel,
            event_id=event.pk,
            defaults={
                "name": event.name,
                "created_at": now,
                "due_at": now
                + channel_delivery.LEASE,  # it is sent here, not by a worker
            },
        )
        ChannelDelivery.objects.filter(pk=message.pk).update(
            due_at=now + channel_delivery.LEASE
        )
    message.channel = channel
    channel_delivery.send_now(message, now=now)
    sent: ChannelDelivery = message
    return sent


@transaction.atomic
def replay(*, message_id: int, now: datetime) -> ChannelDelivery:
    """Send a message again that was delivered or given up.

    Raises:
        NoSuchMessage: there is none.
        NotOver: it is still being tried.
        EventIsGone: there is nothing to tell any more.
    """
    held = ChannelDelivery.objects.select_for_update(of=("self",))
    message: ChannelDelivery | None = held.filter(pk=message_id).first()
    if message is None:
        raise NoSuchMessage
    if message.state == "waiting":
        raise NotOver
    if not Event.objects.filter(pk=message.event_id).exists():
        raise EventIsGone
    message.delivered_at = message.dead_at = None
    message.attempts, message.due_at = 0, now
    message.save(update_fields=["delivered_at", "dead_at", "attempts", "due_at"])
    return message


def _hold(channel: Channel) -> Channel:
    """Lock it until the transaction ends; whoever writes its messages waits, and we do."""
    held: Channel | None = (
        Channel.objects.select_for_update().filter(pk=channel.pk).first()
    )
    if held is None:
        raise NoSuchChannel
    return held


def _told(name: str, pair: tuple[Any, Any]) -> tuple[Any, Any]:
    """What the audit log says; an address may be a secret, and viewers read the log."""
    match name:
        case "url":
            before, after = (urlsplit(url).hostname for url in pair)
        case "recipients":
            before, after = (f"{len(people)} people" for people in pair)
        case _:
            return pair
    return before, after


def _check(channel: Channel) -> None:
    if not channel.events or len(channel.events) > MOST_PATTERNS:
        raise InvalidChannel(f"From 1 to {MOST_PATTERNS} of them.", field="events")
    for pattern in channel.events:
        if len(pattern) > 64 or not PATTERN.fullmatch(pattern):
            raise InvalidChannel(
                "An event is called like alert.opened; * stands for anything.",
                field="events",
            )
    if channel.kind == Channel.Kind.WEBHOOK:
        channel.recipients = []
        _check_url(channel.url)
    else:
        channel.url = ""
        _check_recipients(channel.recipients)


def _check_url(url: str) -> None:
    """What can be seen without asking anybody; the rest is seen when it is sent."""
    wrong = InvalidChannel("An address is like https://example.com/hook.", field="url")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise wrong from error
    plain = re.fullmatch(r"[\x21-\x7e]{1,500}", url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise wrong
    if parts.username is not None or parts.password is not None or port == 0:
        raise wrong
    try:
        address = ipaddress.ip_address(parts.hostname)
    except ValueError:
        return
    if not may_be_reached(address):
        raise InvalidChannel(
            "This address lies inside the server's own network.", field="url"
        )


def _check_recipients(recipients: list[str]) -> None:
    if not settings.EMAIL_HOST:
        raise InvalidChannel("This installation sends no mails: EMAIL_HOST is not set.")
    if not 1 <= len(recipients) <= MOST_RECIPIENTS:
        raise InvalidChannel(
            f"From 1 to {MOST_RECIPIENTS} recipients.", field="recipients"
        )
    for recipient in recipients:
        try:
            validate_email(recipient)
        except ValidationError as error:
            raise InvalidChannel(
                f"{recipient!r} is no e-mail address.", field="recipients"
            ) from error


def _save(channel: Channel, *, force_insert: bool = False) -> None:
    try:
        with transaction.atomic():
            channel.save(force_insert=force_insert)
    except IntegrityError as error:
        if "channel_once" not in str(error):
            raise
        raise ChannelExists(
            f"There is a channel {channel.name!r} already.", field="name"
        ) from error


def _about(channel: Channel, now: datetime) -> dict[str, Any]:
    return {
        "tenant_id": channel.tenant_id,
        "at": now,
        "channel_id": str(channel.pk),
        "channel_name": channel.name,
    }
