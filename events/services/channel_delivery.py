"""Messages go out to channels: at least once, in order per device, over a day.

As with the listeners inside, a message is leased first, in a transaction of its own, so
that a worker that is killed loses nothing. The network is then spoken to outside of any
transaction, with many at once; each outcome is noted when it is there, unless another
worker has the lease by then. Each channel gets its turn, and one that does not answer
rests a while, so that a slow receiver does not hold up the others.
"""

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, Window
from django.db.models.functions import RowNumber

from events import extension_points
from events.models import Channel, ChannelDelivery, Event
from events.services import outbound_http
from events.services.channel_secrets import live_secrets
from events.services.mails import mail
from events.services.webhooks import encoded, payload, signed_headers

AT_ONCE = 32  # requests
BATCH = 128  # messages to webhooks
OF_A_CHANNEL = 32  # of them, so that each channel gets its turn
MOST_IN_A_MAIL = 5_000
MAILS = 16  # channels whose mails are one batch
LEASE = timedelta(seconds=180)  # longer than any batch takes
REST = timedelta(seconds=30)  # of a channel from which nothing came back
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
Prepared = tuple[list[ChannelDelivery], Send]


def send_due(*, now: datetime) -> int:
    """Lease one batch of messages and send them; return how many."""
    return _send(_lease_webhooks(now), now) + _send(_lease_mails(now), now)


def send_now(message: ChannelDelivery, *, now: datetime) -> Outcome:
    """Try one message at once, for a member who waits for the answer."""
    message.attempts += 1
    ChannelDelivery.every_tenant.filter(pk=message.pk).update(attempts=message.attempts)
    ((messages, send),) = _prepared([message], now=now)
    outcome = send()
    _note(messages, outcome, now=now)
    return outcome


def drop_outlived(*, now: datetime) -> int:
    """Remove what is older than a week; return how many messages.

    What still waits then is for a channel that was switched off.
    """
    old = ChannelDelivery.every_tenant.filter(created_at__lt=now - KEPT_FOR)
    count, _ = old.delete()
    return count


def _send(batch: list[ChannelDelivery], now: datetime) -> int:
    if not batch:
        return 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        underway = {
            pool.submit(send): messages for messages, send in _prepared(batch, now=now)
        }
        for done in as_completed(underway):
            _note(underway[done], done.result(), now=now)
    return len(batch)


def _resting(now: datetime) -> Q:
    return Q(channel__is_enabled=False) | Q(channel__rests_until__gt=now)


def _lease_webhooks(now: datetime) -> list[ChannelDelivery]:
    due = ChannelDelivery.every_tenant.due(now).exclude(_resting(now))
    by_turn = due.filter(channel__kind=Channel.Kind.WEBHOOK).annotate(
        turn=Window(RowNumber(), partition_by=F("channel"), order_by="id")
    )
    chosen = by_turn.filter(turn__lte=OF_A_CHANNEL).order_by("turn", "id")
    return _lease(list(chosen.values_list("id", flat=True)[:BATCH]), now)


def _lease_mails(now: datetime) -> list[ChannelDelivery]:
    """All that is due of a few channels; each of them rests after its mail."""
    due = ChannelDelivery.every_tenant.waiting().filter(
        due_at__lte=now, channel__kind=Channel.Kind.MAIL
    )
    due = due.exclude(_resting(now))
    channels = list(
        due.order_by("channel").values_list("channel", flat=True).distinct()[:MAILS]
    )
    ids: list[int] = []
    for channel_id in channels:
        of_it = due.filter(channel=channel_id).order_by("id")
        ids += list(of_it.values_list("id", flat=True)[:MOST_IN_A_MAIL])
    batch = _lease(ids, now)
    Channel.every_tenant.filter(pk__in={row.channel_id for row in batch}).update(
        rests_until=now + MAIL_PAUSE
    )
    return batch


@transaction.atomic
def _lease(ids: list[int], now: datetime) -> list[ChannelDelivery]:
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
    return batch


def _prepared(batch: list[ChannelDelivery], *, now: datetime) -> Iterator[Prepared]:
    """All that the database knows is read here; what is left speaks to the network."""
    events = Event.every_tenant.in_bulk([message.event_id for message in batch])
    ids = {event.device_id for event in events.values() if event.device_id}
    names: dict[Any, str] = dict(extension_points.names_of(ids))
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
        told = [events[message.event_id] for message in messages]
        yield messages, _mail(messages[0].channel, told, names)


def _webhook(
    message: ChannelDelivery, event: Event, names: dict[Any, str], now: datetime
) -> Send:
    channel = message.channel

    def act() -> tuple[bool, int | None, str]:
        body = encoded(payload(event, names.get(event.device_id, "")))
        secrets = live_secrets(channel, now=now)
        headers = signed_headers(
            body, message_id=message.event_id, secrets=secrets, now=now
        )
        answer = outbound_http.post(channel.url, body, headers)
        return 200 <= answer.status < 300, answer.status, answer.text

    return _timed(act)


def _mail(channel: Channel, told: list[Event], names: dict[Any, str]) -> Send:
    def act() -> tuple[bool, int | None, str]:
        ready = mail(
            told,
            names=names,
            recipients=channel.recipients,
            channel_name=channel.name,
        )
        ready.send()
        return True, None, "The mail server took it."

    return _timed(act)


def _gone() -> Outcome:
    return Outcome(False, None, "The event is not kept any more.", 0)


def _timed(act: Callable[[], tuple[bool, int | None, str]]) -> Send:
    def send() -> Outcome:
        begun = time.perf_counter()
        try:
            good, status, answer = act()
        except Exception as error:  # whatever one receiver does, the others are told
            good, status, answer = False, None, str(error) or type(error).__name__
        milliseconds = round(1000 * (time.perf_counter() - begun))
        return Outcome(good, status, answer.replace("\x00", ""), milliseconds)

    return send


@transaction.atomic
def _note(messages: list[ChannelDelivery], outcome: Outcome, *, now: datetime) -> None:
    """Write down what came of it, of those that nobody else has leased meanwhile."""
    line = {
        "at": now.isoformat(),
        "milliseconds": outcome.milliseconds,
        "status": outcome.status,
        "answer": outcome.answer[:500],
    }
    leased = {message.pk: message for message in messages}
    held = ChannelDelivery.every_tenant.waiting().filter(pk__in=leased)
    ours = [
        row
        for row in held.select_for_update(of=("self",))
        if row.attempts == leased[row.pk].attempts
    ]
    for row in ours:
        row.log = [*row.log, line][-KEPT_ATTEMPTS:]
        if outcome.good:
            row.delivered_at = now
        elif row.attempts > len(BACK_OFF):
            row.dead_at = now
        else:
            row.due_at = now + BACK_OFF[row.attempts - 1] * random.uniform(0.9, 1.1)
        same = leased[row.pk]
        same.log, same.due_at = row.log, row.due_at
        same.delivered_at, same.dead_at = row.delivered_at, row.dead_at
    ChannelDelivery.every_tenant.bulk_update(
        ours, ["log", "delivered_at", "dead_at", "due_at"], batch_size=500
    )
    if not outcome.good and outcome.status is None:
        channels = Channel.every_tenant.filter(
            pk=messages[0].channel_id, kind=Channel.Kind.WEBHOOK
        )
        channels.update(rests_until=now + REST)
