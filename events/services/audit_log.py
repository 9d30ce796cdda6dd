"""The audit log cannot be rewritten unseen: its events are linked in hash chains.

Each tenant has a chain of seals. A seal holds the SHA-256 of some events and of the
seal before it. Sealing is no part of the transactions that write events, which would
make all of a tenant's wait in line; it follows within seconds. What is sealed in which
order does not matter, only that each event is in one seal, and stays as it was.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import groupby
from uuid import UUID

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction

from events.models import Delivery, Event, Seal, Unsealed

BATCH = 5_000  # events that one transaction seals
IN_ONE_SEAL = 1_000
SIZE = sha256().digest_size
START = bytes(SIZE)
LOCK = 7_205_759_403  # one sealer at a time, whatever else runs
MOST_STRAYS = 20  # that a verification names


@dataclass(frozen=True, slots=True)
class Break:
    """Where a chain does not hold."""

    tenant_id: UUID | None
    seal: int | None  # its number; None: the event is in no seal
    event_id: int | None
    what: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification has found; `heads` are worth keeping elsewhere."""

    events: int
    seals: int
    unsealed: int
    heads: dict[str, str]  # tenant id, or "": the last seal's digest in hex
    breaks: list[Break]


def seal(*, now: datetime) -> int:
    """Put every event that is in no seal into its tenant's chain; return how many."""
    total = 0
    while sealed := _seal_batch(now):
        total += sealed
    return total


@transaction.atomic
def verify(*, tenant_id: UUID | None = None, every: bool = True) -> Verdict:
    """Go through the chains of every tenant, or of one, and say where one breaks.

    Seals at the beginning that the retention has dropped are no break.
    """
    _see_one_moment()
    seals = Seal.objects.all() if every else Seal.objects.filter(chain=tenant_id)
    breaks: list[Break] = []
    heads: dict[str, str] = {}
    events = count = 0
    before: Seal | None = None
    for link in seals.order_by("chain", "number").iterator(chunk_size=50):
        if before is not None and before.chain != link.chain:
            before = None
        breaks += _breaks_of(link, before)
        heads[str(link.chain or "")] = bytes(link.digest).hex()
        events, count, before = events + len(link.event_ids), count + 1, link
    breaks += _strays(tenant_id, every=every)
    waiting = Unsealed.objects.all()
    unsealed = waiting if every else waiting.filter(chain=tenant_id)
    return Verdict(events, count, unsealed.count(), heads, breaks)


def drop_outlived(*, before: datetime) -> int:
    """Remove what was sealed before then: each seal together with its events.

    Oldest first. A chain stops at a seal with an event that somebody was not told yet.

    Returns:
        How many events were removed.
    """
    total = 0
    seals = Seal.objects.filter(sealed_at__lt=before).order_by("chain", "number")
    kept: set[UUID | None] = set()
    for link in seals.iterator(chunk_size=50):
        if link.chain in kept:
            continue
        if Delivery.objects.waiting().filter(event_id__in=link.event_ids).exists():
            kept.add(link.chain)
            continue
        total += _drop(link)
    return total


def digest_of(event: Event) -> bytes:
    """SHA-256 over everything that an event says, in one fixed form."""
    said = [
        *(event.pk, event.tenant_id, event.name, event.device_id),
        event.at.astimezone(UTC).isoformat(timespec="microseconds"),
        *(event.caller_kind, event.caller_id, event.caller_name),
        *(event.address, event.request_id, event.data, event.changes),
    ]
    text = json.dumps(
        said, cls=DjangoJSONEncoder, sort_keys=True, separators=(",", ":")
    )
    return sha256(text.encode()).digest()


@transaction.atomic
def _seal_batch(now: datetime) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        if not cursor.fetchone()[0]:
            return 0  # another one is at it
    rows = list(Unsealed.objects.order_by("event_id")[:BATCH])
    rows.sort(key=lambda row: (str(row.chain), row.event_id))
    found = Event.every_tenant.in_bulk([row.event_id for row in rows])
    made: list[Seal] = []
    for chain, of_chain in groupby(rows, key=lambda row: row.chain):
        ids = [row.event_id for row in of_chain]
        made += _links(chain, ids, found, now)
    Seal.objects.bulk_create(made)
    Unsealed.objects.filter(pk__in=[row.event_id for row in rows]).delete()
    return len(rows)


def _links(
    chain: UUID | None, ids: list[int], found: dict[int, Event], now: datetime
) -> Iterator[Seal]:
    last = Seal.objects.filter(chain=chain).order_by("-number").first()
    number, previous = (last.number, bytes(last.digest)) if last else (0, START)
    for beginning in range(0, len(ids), IN_ONE_SEAL):
        chosen = ids[beginning : beginning + IN_ONE_SEAL]
        # One that is gone before it was sealed leaves a digest that nothing has.
        digests = [digest_of(found[pk]) if pk in found else START for pk in chosen]
        number += 1
        link = Seal(
            chain=chain,
            number=number,
            sealed_at=now,
            event_ids=chosen,
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


def _breaks_of(link: Seal, before: Seal | None) -> Iterator[Break]:
    def broken(what: str, event_id: int | None = None) -> Break:
        return Break(link.chain, link.number, event_id, what)

    if before is not None and link.number != before.number + 1:
        yield broken(f"seals {before.number + 1} to {link.number - 1} are missing")
    elif before is not None and bytes(link.previous) != bytes(before.digest):
        yield broken("it does not follow from the seal before it")
    elif link.number == 1 and bytes(link.previous) != START:
        yield broken("it is not how a chain begins")
    if _digest_of_link(link) != bytes(link.digest):
        yield broken("the seal itself was changed")
    found = Event.every_tenant.in_bulk(link.event_ids)
    for event_id, digest in zip(link.event_ids, _split(link.digests), strict=True):
        if event_id not in found:
            yield broken("the event is gone", event_id)
        elif digest_of(found[event_id]) != digest:
            yield broken("the event was changed", event_id)


def _see_one_moment() -> None:
    """What is written or dropped meanwhile is neither a hole nor a stray."""
    if not connection.savepoint_ids:  # else somebody's transaction has begun already
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def _split(digests: bytes | memoryview) -> Sequence[bytes]:
    whole = bytes(digests)
    return [whole[start : start + SIZE] for start in range(0, len(whole), SIZE)]


def _strays(tenant_id: UUID | None, *, every: bool) -> Iterable[Break]:
    """Events that are in no seal and do not wait for one: slipped in past the trigger."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id FROM events_event
            WHERE %s OR tenant_id IS NOT DISTINCT FROM %s
            EXCEPT SELECT unnest(event_ids) FROM events_seal
            EXCEPT SELECT event_id FROM events_unsealed
            ORDER BY id LIMIT %s
            """,
            [every, tenant_id, MOST_STRAYS],
        )
        ids = [pk for (pk,) in cursor.fetchall()]
    for event in Event.every_tenant.in_bulk(ids).values():
        yield Break(event.tenant_id, None, event.pk, "the event is in no seal")


@transaction.atomic
def _drop(link: Seal) -> int:
    with connection.cursor() as cursor:  # tells the triggers that it is the retention
        cursor.execute("SET LOCAL provisioning.retention = 'on'")
    dropped, _ = Event.every_tenant.filter(pk__in=link.event_ids).delete()
    Seal.objects.filter(pk=link.pk).delete()
    return dropped
