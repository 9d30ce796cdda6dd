"""Messages go out to channels: at least once, in order per device, over a day.

As with the listeners inside, a message is leased first, in a transaction of its own, so
that a worker that is killed loses nothing. The network is then spoken to outside of any
transaction, with many at once, so that one slow receiver does not hold up the others.
"""

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, Window
from django.db.models.functions import RowNumber

from events import outside, subjects
from events.channel_secrets import live_secrets
from events.mails import mail
from events.models import Channel, ChannelDelivery, Event
from events.outside import Unreachable
from events.webhooks import encoded, payload, signed_headers

AT_ONCE = 16  # requests
OF_A_CHANNEL = 8  # in one batch, so that each channel gets its turn
MOST_IN_A_MAIL = 5_000
LEASE = timedelta(seconds=120)
MAIL_PAUSE = timedelta(minutes=5)  # what comes within it goes into one digest
BACK_OFF = tuple(
    timedelta(seconds=seconds)
    for seconds in (10, 60, 300, 900, 3600, 7200, 14400, 28800, 32400)
)  # about a day in all
KEPT_ATTEMPTS = 20
KEPT_FOR = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attempt; `status` None: nothing came back."""

    good: bool
    status: int | None
    answer: str
    milliseconds: int


Send = Callable[[], Outcome]


def send_due(*, now: datetime) -> int:
    """Lease one batch of messages and send them; return how many."""
    batch = _lease(now=now)
    sends = list(_prepared(batch, now=now))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(lambda item: item[1](), sends))
    for (messages, _), outcome in zip(sends, outcomes, strict=True):
        _note(messages, outcome, now=now)
    return len(batch)


def send_now(message: ChannelDelivery, *, now: datetime) -> Outcome:
    """Try one message at once, for a member who waits for the answer."""
    ((messages, send),) = _prepared([message], now=now)
    message.attempts += 1
    outcome = send()
    _note(messages, outcome, now=now)
    return outcome


def drop_outlived(*, now: datetime) -> int:
    """Remove what was delivered or given up a week ago; return how many messages."""
    old = ChannelDelivery.every_tenant.filter(created_at__lt=now - KEPT_FOR)
    over = old.filter(Q(delivered_at__isnull=False) | Q(dead_at__isnull=False))
    count, _ = over.delete()
    return count


@transaction.atomic
def _lease(*, now: datetime) -> list[ChannelDelivery]:
    due = ChannelDelivery.every_tenant.due(now).filter(channel__is_enabled=True)
    webhooks = due.filter(channel__kind=Channel.Kind.WEBHOOK).annotate(
        turn=Window(RowNumber(), partition_by=F("channel"), order_by="id")
    )
    ids = list(
        webhooks.filter(turn__lte=OF_A_CHANNEL)
        .order_by("id")
        .values_list("id", flat=True)[: 4 * AT_ONCE]
    )
    waiting = ChannelDelivery.every_tenant.waiting().filter(due_at__lte=now)
    mails = waiting.filter(
        Q(channel__next_mail_at__lte=now) | Q(channel__next_mail_at__isnull=True),
        channel__kind=Channel.Kind.MAIL,
        channel__is_enabled=True,
    )
    ids += list(mails.order_by("id").values_list("id", flat=True)[:MOST_IN_A_MAIL])
    held = ChannelDelivery.every_tenant.waiting().filter(pk__in=ids, due_at__lte=now)
    batch = list(
        held.select_related("channel")
        .select_for_update(skip_locked=True, of=("self",))
        .order_by("id")
    )
    leased = [message.pk for message in batch]
    ChannelDelivery.every_tenant.filter(pk__in=leased).update(
        attempts=F("attempts") + 1, due_at=now + LEASE
    )
    for message in batch:
        message.attempts += 1
    channels = {message.channel_id for message in batch}
    Channel.every_tenant.filter(pk__in=channels, kind=Channel.Kind.MAIL).update(
        next_mail_at=now + MAIL_PAUSE
    )
    return batch


def _prepared(
    batch: list[ChannelDelivery], *, now: datetime
) -> Iterable[tuple[list[ChannelDelivery], Send]]:
    """All that the database knows is read here; what is left speaks to the network."""
    events = Event.every_tenant.in_bulk([message.event_id for message in batch])
    ids = {event.device_id for event in events.values() if event.device_id}
    names: dict[Any, str] = dict(subjects.names_of(ids))
    mails: defaultdict[UUID, list[ChannelDelivery]] = defaultdict(list)
    for message in batch:
        event = events.get(message.event_id)
        if event is None:
            yield [message], _gone
        elif message.channel.kind == Channel.Kind.MAIL:
            mails[message.channel_id].append(message)
        else:
            yield [message], _webhook(message, event, names, now)
    for messages in mails.values():
        channel = messages[0].channel
        told = [events[message.event_id] for message in messages]
        ready = mail(
            told,
            names=names,
            recipients=channel.recipients,
            channel_name=channel.name,
        )
        yield messages, _timed(partial(_mailed, ready))


def _webhook(
    message: ChannelDelivery, event: Event, names: dict[Any, str], now: datetime
) -> Send:
    channel = message.channel
    body = encoded(payload(event, names.get(event.device_id, "")))
    headers = signed_headers(
        body,
        message_id=message.event_id,
        secrets=live_secrets(channel, now=now),
        now=now,
    )
    return _timed(lambda: _posted(channel.url, body, headers))


def _posted(url: str, body: bytes, headers: dict[str, str]) -> tuple[bool, int, str]:
    answer = outside.post(url, body, headers)
    return 200 <= answer.status < 300, answer.status, answer.text


def _mailed(ready: Any) -> tuple[bool, int | None, str]:
    ready.send()
    return True, None, "The mail server took it."


def _gone() -> Outcome:
    return Outcome(False, None, "The event is not kept any more.", 0)


def _timed(act: Callable[[], tuple[bool, int | None, str]]) -> Send:
    def send() -> Outcome:
        begun = time.perf_counter()
        try:
            good, status, answer = act()
        except (Unreachable, OSError) as error:  # an SMTPException is an OSError
            good, status, answer = False, None, str(error) or type(error).__name__
        milliseconds = round(1000 * (time.perf_counter() - begun))
        return Outcome(good, status, answer, milliseconds)

    return send


@transaction.atomic
def _note(messages: list[ChannelDelivery], outcome: Outcome, *, now: datetime) -> None:
    line = {
        "at": now.isoformat(),
        "milliseconds": outcome.milliseconds,
        "status": outcome.status,
        "answer": outcome.answer[:500],
    }
    for message in messages:
        message.log = [*message.log, line][-KEPT_ATTEMPTS:]
        if outcome.good:
            message.delivered_at = now
        elif message.attempts > len(BACK_OFF):
            message.dead_at = now
        else:
            wait = BACK_OFF[message.attempts - 1]
            message.due_at = now + wait * random.uniform(0.9, 1.1)
    ChannelDelivery.every_tenant.bulk_update(
        messages, ["log", "delivered_at", "dead_at", "due_at"], batch_size=500
    )
