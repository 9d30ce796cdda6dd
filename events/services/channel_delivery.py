"""Send messages to channels at least once, in order per device, with retries for a day.

A first transaction leases the messages. If the worker is killed, other workers send them
after the lease has expired. The messages are then sent in parallel, outside of any
transaction. Each result is stored as soon as it is known, unless another worker has leased
the message in the meantime. The number of messages per channel and batch is limited, and a
channel that does not respond is paused. A slow receiver therefore does not delay other
channels.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, Window
from django.db.models.functions import RowNumber

from events import extension_points, queries
from events.event_classes import link_to
from events.events import ChannelTested
from events.models import Channel, ChannelDelivery, Event
from events.services import channel_health, outbound_http
from events.services.channel_secrets import valid_secrets
from events.services.leasing import LeasePolicy
from events.services.mails import mail
from events.services.webhooks import cloud_event, encode, signed_headers

MAX_PARALLEL_REQUESTS = 32
WEBHOOK_BATCH = 128  # messages to webhooks per batch
MAX_PER_CHANNEL = 32  # messages of one channel per batch
MAX_PER_MAIL = 5_000  # events in one mail
MAIL_BATCH = 16  # mail channels per batch
FAILURE_PAUSE = timedelta(seconds=30)  # pause of a webhook that did not respond
MAIL_PAUSE = timedelta(minutes=5)  # events during the pause are sent as one digest
LEASES = LeasePolicy(
    duration=timedelta(seconds=180),  # longer than any batch takes
    waits=[  # about a day in total
        timedelta(seconds=seconds)
        for seconds in (10, 60, 300, 900, 3600, 7200, 14400, 28800, 32400)
    ],
)
MAX_LOGGED_ATTEMPTS = 20
RETENTION = timedelta(days=7)
DELETED_AT_ONCE = 10_000  # messages in one transaction


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The result of one attempt. `status` is None if there was no HTTP response."""

    succeeded: bool
    status: int | None
    answer: str
    milliseconds: int
    retry_after: str = ""  # header of the response


Send = Callable[[], AttemptResult]
Transmission = tuple[list[ChannelDelivery], Send]  # messages, and a function that sends them


def send_due(*, now: datetime) -> int:
    """Lease a batch of due messages and send them. Return the number of messages."""
    return _send(_lease_webhooks(now), now) + _send(_lease_mails(now), now)


def delete_expired(*, now: datetime) -> int:
    """Delete messages older than a week. Return the number of messages.

    Messages still waiting after a week belong to disabled channels.
    """
    expired = ChannelDelivery.every_tenant.filter(created_at__lt=now - RETENTION)
    total = 0
    while ids := list(
        expired.order_by("created_at").values_list("pk", flat=True)[:DELETED_AT_ONCE]
    ):
        total += ChannelDelivery.every_tenant.filter(pk__in=ids).delete()[0]
    return total


def _send(batch: list[ChannelDelivery], now: datetime) -> int:
    if not batch:
        return 0
    with ThreadPoolExecutor(MAX_PARALLEL_REQUESTS) as pool:
        futures = {pool.submit(send): messages for messages, send in _prepare(batch, now=now)}
        for future in as_completed(futures):
            messages, result = futures[future], future.result()
            _store_result(messages, result, now=now)
            # In a transaction of its own: deleting a channel locks it before its messages.
            _note_result(messages[0].channel, result, now)
    return len(batch)


def _is_paused(now: datetime) -> Q:
    paused = Q(channel__is_enabled=False) | Q(channel__rests_until__gt=now)
    return paused & ~Q(name=ChannelTested.name)  # a test is sent at once


def _lease_webhooks(now: datetime) -> list[ChannelDelivery]:
    ids = queries.due_messages(now=now, most_of_channel=MAX_PER_CHANNEL, most=WEBHOOK_BATCH)
    return _lease(ids, now)


def _lease_mails(now: datetime) -> list[ChannelDelivery]:
    """Lease all due messages of a few mail channels, and pause these channels."""
    due = ChannelDelivery.every_tenant.waiting().filter(
        due_at__lte=now, channel__kind=Channel.Kind.MAIL
    )
    due = due.exclude(_is_paused(now))
    # A tenant with many channels gets no more than its share of the batch.
    with_mail = Channel.every_tenant.filter(
        Exists(due.filter(channel=OuterRef("pk"))), kind=Channel.Kind.MAIL
    ).annotate(turn=Window(RowNumber(), partition_by=F("tenant"), order_by="id"))
    channels = list(with_mail.order_by("turn", "id").values_list("pk", flat=True)[:MAIL_BATCH])
    ids: list[int] = []
    for channel_id in channels:
        messages = due.filter(channel=channel_id).order_by("id")
        ids += list(messages.values_list("id", flat=True)[:MAX_PER_MAIL])
    batch = _lease(ids, now)
    Channel.every_tenant.filter(pk__in={row.channel_id for row in batch}).update(
        rests_until=now + MAIL_PAUSE
    )
    return batch


def _lease(ids: list[int], now: datetime) -> list[ChannelDelivery]:
    due = ChannelDelivery.every_tenant.waiting().filter(pk__in=ids, due_at__lte=now)
    return LEASES.claim(due.select_related("channel__tenant").order_by("id"), now=now)


def _prepare(batch: list[ChannelDelivery], *, now: datetime) -> Iterator[Transmission]:
    """Read the data of the messages from the database. Yield functions that send the messages."""
    events = Event.every_tenant.in_bulk([message.event_id for message in batch])
    ids = {event.device_id for event in events.values() if event.device_id}
    names: dict[Any, str] = dict(extension_points.names_of(ids))
    mails: defaultdict[UUID, list[ChannelDelivery]] = defaultdict(list)
    for message in batch:
        event = events.get(message.event_id)
        if event is None:
            yield [message], _fail_without_event
        elif message.channel.kind == Channel.Kind.MAIL:
            mails[message.channel_id].append(message)
        else:
            yield [message], _webhook(message, event, names, now)
    for messages in mails.values():
        mail_events = [events[message.event_id] for message in messages]
        yield messages, _mail(messages[0].channel, mail_events, names)


def _webhook(message: ChannelDelivery, event: Event, names: dict[Any, str], now: datetime) -> Send:
    channel = message.channel
    slug = channel.tenant.slug
    name, link = names.get(event.device_id, ""), link_to(event, slug)

    def send() -> outbound_http.Answer:
        body = encode(cloud_event(event, name, tenant_slug=slug, link=link))
        secrets = valid_secrets(channel, now=now)
        headers = signed_headers(body, message_id=event.public_id, secrets=secrets, now=now)
        return outbound_http.post(channel.url, body, headers)

    return _timed(send)


def _mail(channel: Channel, events: list[Event], names: dict[Any, str]) -> Send:
    def send() -> None:
        mail(events, names=names, channel=channel).send()

    return _timed(send)


def _fail_without_event() -> AttemptResult:
    return AttemptResult(False, None, "The event was deleted.", 0)


def _timed(send: Callable[[], outbound_http.Answer | None]) -> Send:
    """Measure the time of `send`, and turn its exceptions into results.

    Args:
        send: sends a request and returns its response, or sends a mail and returns None.
    """

    def timed() -> AttemptResult:
        start = time.perf_counter()
        succeeded, status, retry_after = True, None, ""
        answer = "The mail server accepted the mail."
        try:
            if (response := send()) is not None:
                status, answer, retry_after = response.status, response.text, response.retry_after
                succeeded = 200 <= status < 300
        except Exception as error:  # one failing receiver must not affect the others
            succeeded, answer = False, str(error) or type(error).__name__
        milliseconds = round(1000 * (time.perf_counter() - start))
        text = answer.replace("\x00", "")
        return AttemptResult(succeeded, status, text, milliseconds, retry_after)

    return timed


@transaction.atomic
def _store_result(messages: list[ChannelDelivery], result: AttemptResult, *, now: datetime) -> None:
    """Store the result of an attempt. Skip messages that another worker leased meanwhile."""
    attempt = {
        "at": now.isoformat(),
        "milliseconds": result.milliseconds,
        "status": result.status,
        "answer": result.answer[:500],
    }
    retry_after = outbound_http.parse_retry_after(result.retry_after, now)
    leased = {message.pk: message for message in messages}
    waiting = ChannelDelivery.every_tenant.waiting().filter(pk__in=leased)
    still_leased = [
        row
        for row in waiting.select_for_update(of=("self",))
        if row.attempts == leased[row.pk].attempts
    ]
    for row in still_leased:
        row.log = [*row.log, attempt][-MAX_LOGGED_ATTEMPTS:]
        if result.succeeded:
            row.delivered_at = now
        else:
            LEASES.fail(row, now=now)
            if result.status == channel_health.GONE:
                row.dead_at = now
            elif retry_after is not None:
                row.due_at = max(row.due_at, now + min(retry_after, channel_health.MAX_PAUSE))
        message = leased[row.pk]
        message.log, message.due_at = row.log, row.due_at
        message.delivered_at, message.dead_at = row.delivered_at, row.dead_at
    ChannelDelivery.every_tenant.bulk_update(
        still_leased, ["log", "delivered_at", "dead_at", "due_at"], batch_size=500
    )


def _note_result(channel: Channel, result: AttemptResult, now: datetime) -> None:
    if result.succeeded:
        channel_health.note_success(channel, now=now)
        return
    pause = outbound_http.parse_retry_after(result.retry_after, now)
    if result.status is None and channel.kind == Channel.Kind.WEBHOOK:
        pause = FAILURE_PAUSE
    channel_health.note_failure(
        channel, status=result.status, reason=result.answer, pause=pause, now=now
    )
