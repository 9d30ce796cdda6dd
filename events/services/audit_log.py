"""Make changes of the audit log detectable by linking its events in hash chains.

Each tenant has a chain. A link of a chain is called a seal. It contains the SHA-256 digests
of some events and of the previous seal. Events are added to a seal a few seconds after they
are written, in another transaction. If writers added events in their own transactions,
all transactions of a tenant would wait for each other. The order of the events in the chain is
irrelevant. Each event must be in exactly one seal and must never change.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import groupby
from typing import Any
from uuid import UUID

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction

from core.locks import try_transaction_lock
from events.models import Event, Seal, Unsealed

BATCH = 5_000  # events sealed per transaction
MAX_EVENTS_PER_SEAL = 1_000
DIGEST_SIZE = sha256().digest_size  # bytes
ZERO_DIGEST = bytes(DIGEST_SIZE)  # `previous` of the first seal
MAX_UNSEALED_BREAKS = 20  # listed events that are in no seal


@dataclass(frozen=True, slots=True)
class Break:
    """A place where a hash chain is broken."""

    tenant_id: UUID | None
    seal: int | None  # number of the seal; None if the event is in no seal
    event_id: int | None
    what: str  # description


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a verification of hash chains.

    Store `heads`, the digests of the last seals, outside of this system. A stored digest can
    later prove that a chain was not replaced as a whole.
    """

    events: int
    seals: int
    unsealed: int
    heads: dict[str, str]  # digest of each chain's last seal in hex, by tenant id or ""
    breaks: list[Break]


def seal(*, now: datetime) -> int:
    """Add all new events to the hash chains. Return the number of added events."""
    total = 0
    while count := _seal_batch(now):
        total += count
    return total


@transaction.atomic
def verify(*, tenant_id: UUID | None = None, every: bool = True) -> Verdict:
    """Verify the hash chains of all tenants or of one tenant. Return the verdict.

    Missing seals at the beginning of a chain are not reported as a break, because seals are
    deleted after the retention period.

    Args:
        tenant_id: the tenant whose chain is verified if `every` is False. None stands for
            the chain of events without a tenant.
        every: verify all chains.
    """
    _use_one_snapshot()
    seals = Seal.objects.all() if every else Seal.objects.filter(chain=tenant_id)
    breaks: list[Break] = []
    heads: dict[str, str] = {}
    events = count = 0
    previous: Seal | None = None
    for link in seals.order_by("chain", "number").iterator(chunk_size=50):
        if previous is not None and previous.chain != link.chain:
            previous = None
        breaks += _breaks_of(link, previous)
        heads[str(link.chain or "")] = bytes(link.digest).hex()
        events, count, previous = events + len(link.event_ids), count + 1, link
    breaks += _breaks_of_unsealed_events(tenant_id, every=every)
    unsealed = Unsealed.objects.all()
    if not every:
        unsealed = unsealed.filter(chain=tenant_id)
    return Verdict(events, count, unsealed.count(), heads, breaks)


def lag(*, now: datetime) -> timedelta:
    """Return the age of the oldest event that is in no seal yet."""
    oldest = Unsealed.objects.order_by("event_id").values_list("event_id", flat=True).first()
    event = None if oldest is None else Event.every_tenant.filter(pk=oldest).first()
    return timedelta() if event is None else max(timedelta(), now - event.at)


def digest_of(event: Event) -> bytes:
    """Return the SHA-256 digest of all fields of an event in a canonical form."""
    values = [
        event.pk,
        event.tenant_id,
        event.name,
        event.device_id,
        event.at.astimezone(UTC).isoformat(timespec="microseconds"),
        event.caller_kind,
        event.caller_id,
        event.caller_name,
        event.address,
        event.request_id,
        event.data,
        event.changes,
    ]
    text = json.dumps(values, cls=DjangoJSONEncoder, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).digest()


@transaction.atomic
def _seal_batch(now: datetime) -> int:
    if not try_transaction_lock("seal events"):
        return 0  # another process is sealing
    rows = list(Unsealed.objects.order_by("event_id")[:BATCH])
    rows.sort(key=lambda row: (str(row.chain), row.event_id))
    events = Event.every_tenant.in_bulk([row.event_id for row in rows])
    last_links = _last_links({row.chain for row in rows})
    seals: list[Seal] = []
    for chain, chain_rows in groupby(rows, key=lambda row: row.chain):
        ids = [row.event_id for row in chain_rows]
        seals += _new_links(chain, last_links.get(chain), ids, events, now)
    Seal.objects.bulk_create(seals)
    Unsealed.objects.filter(pk__in=[row.event_id for row in rows]).delete()
    return len(rows)


def _last_links(chains: Collection[UUID | None]) -> dict[UUID | None, tuple[int, bytes]]:
    """Return the number and the digest of the last seal of each chain that has one."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT sought.id, last.number, last.digest
            FROM unnest(%s::uuid[]) AS sought (id) CROSS JOIN LATERAL (
                SELECT number, digest FROM events_seal WHERE chain = sought.id
                ORDER BY number DESC LIMIT 1
            ) AS last
            """,
            [[str(chain) for chain in chains if chain is not None]],
        )
        links: list[Any] = cursor.fetchall()
    of_installation = Seal.objects.filter(chain=None).order_by("-number")
    links += of_installation.values_list("chain", "number", "digest")[:1]
    return {chain: (number, bytes(digest)) for chain, number, digest in links}


def _new_links(
    chain: UUID | None,
    last: tuple[int, bytes] | None,
    ids: list[int],
    events: dict[int, Event],
    now: datetime,
) -> Iterator[Seal]:
    number, previous = last or (0, ZERO_DIGEST)
    for start in range(0, len(ids), MAX_EVENTS_PER_SEAL):
        seal_ids = ids[start : start + MAX_EVENTS_PER_SEAL]
        # An event that was removed before sealing gets a digest that no event can have.
        digests = [digest_of(events[pk]) if pk in events else ZERO_DIGEST for pk in seal_ids]
        number += 1
        link = Seal(
            chain=chain,
            number=number,
            sealed_at=now,
            event_ids=seal_ids,
            digests=b"".join(digests),
            previous=previous,
        )
        link.digest = previous = _digest_of_link(link)
        yield link


def _digest_of_link(link: Seal) -> bytes:
    digest = sha256(bytes(link.previous))
    digest.update(f"{link.chain}:{link.number}:".encode())
    digest.update(",".join(map(str, link.event_ids)).encode())
    digest.update(bytes(link.digests))
    return digest.digest()


def _breaks_of(link: Seal, previous: Seal | None) -> Iterator[Break]:
    def break_at(what: str, event_id: int | None = None) -> Break:
        return Break(link.chain, link.number, event_id, what)

    if previous is not None and link.number != previous.number + 1:
        yield break_at(f"seals {previous.number + 1} to {link.number - 1} are missing")
    elif previous is not None and bytes(link.previous) != bytes(previous.digest):
        yield break_at("the seal does not match the digest of the previous seal")
    elif link.number == 1 and bytes(link.previous) != ZERO_DIGEST:
        yield break_at("the first seal of the chain was changed")
    if _digest_of_link(link) != bytes(link.digest):
        yield break_at("the seal was changed")
    events = Event.every_tenant.in_bulk(link.event_ids)
    for event_id, digest in zip(link.event_ids, _split(link.digests), strict=True):
        if event_id not in events:
            yield break_at("the event is missing", event_id)
        elif digest_of(events[event_id]) != digest:
            yield break_at("the event was changed", event_id)


def _use_one_snapshot() -> None:
    """Use one snapshot, so that concurrent writes and deletions are not reported as breaks."""
    if not connection.savepoint_ids:  # the level of an outer transaction is fixed
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def _split(digests: bytes | memoryview) -> Sequence[bytes]:
    data = bytes(digests)
    return [data[start : start + DIGEST_SIZE] for start in range(0, len(data), DIGEST_SIZE)]


def _breaks_of_unsealed_events(tenant_id: UUID | None, *, every: bool) -> Iterable[Break]:
    """Yield a break for each event that is neither in a seal nor marked as unsealed.

    Such events were inserted without the trigger.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id FROM events_event
            WHERE %s OR tenant_id IS NOT DISTINCT FROM %s
            EXCEPT SELECT unnest(event_ids) FROM events_seal
            EXCEPT SELECT event_id FROM events_unsealed
            ORDER BY id LIMIT %s
            """,
            [every, tenant_id, MAX_UNSEALED_BREAKS],
        )
        ids = [pk for (pk,) in cursor.fetchall()]
    for event in Event.every_tenant.in_bulk(ids).values():
        yield Break(event.tenant_id, None, event.pk, "the event is in no seal")
