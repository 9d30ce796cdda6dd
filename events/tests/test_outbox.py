import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from certificates.events import CertificateRevoked
from devices.registry.models import Tag
from devices.registry.tests.waiting import wait_until
from events import queries
from events.domain_events import DomainEvent
from events.extension_points import on, subscribers
from events.models import Delivery, Event
from events.services import audit_log, audit_retention, delivery
from events.services.outbox import record
from events.tasks import delete_expired_events
from events.tasks import deliver_events as deliver_task
from provisioning.tests.processes import subprocess_environment
from tenants.context import current_caller, current_tenant_id, tenant_scope
from tenants.models import Tenant
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db


class SomethingHappened(DomainEvent):
    name = "something.happened"

    what: str
    when: datetime | None = None
    whom: UUID | None = None


@pytest.fixture
def delivered(monkeypatch: pytest.MonkeyPatch) -> list[SomethingHappened]:
    """Return the list of events that a subscriber has received."""
    events: list[SomethingHappened] = []

    @on(SomethingHappened)
    def subscriber(event: SomethingHappened) -> None:
        events.append(event)

    monkeypatch.setattr(subscribers, "_functions", (subscriber,))
    return events


def new_event(tenant: Tenant, at: datetime, what: str = "it", **fields: Any) -> DomainEvent:
    return SomethingHappened(tenant_id=tenant.pk, at=at, what=what, **fields)


def write(*events: DomainEvent) -> None:
    with transaction.atomic():
        record(events)


def deliver_all(now: datetime) -> None:
    while delivery.deliver(now=now):
        pass


@pytest.mark.django_db(transaction=True)
def test_recording_outside_a_transaction_is_an_error(tenant: Tenant, now: datetime) -> None:
    with pytest.raises(transaction.TransactionManagementError):
        record([new_event(tenant, now)])


def test_many_events_keep_the_types_of_their_values(tenant: Tenant, now: datetime) -> None:
    """Python takes 1, 1.0 and True for equal, JSON does not."""
    values = [1, 1.0, True, 1, 1.0, True]

    write(*(new_event(tenant, now, changes={"value": (0, value)}) for value in values))

    stored = [event.changes["value"][1] for event in Event.every_tenant.order_by("id")]
    assert [str(value) for value in stored] == [str(value) for value in values]


def test_a_rolled_back_event_is_not_delivered(
    tenant: Tenant, now: datetime, delivered: list[Any]
) -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        record([new_event(tenant, now)])
        raise RuntimeError

    deliver_all(now)
    assert not Event.every_tenant.exists()
    assert delivered == []


def test_an_event_is_delivered_as_it_was_recorded(
    tenant: Tenant, now: datetime, delivered: list[Any]
) -> None:
    event = new_event(
        tenant,
        now,
        device_id=uuid4(),
        when=now - timedelta(days=1),
        whom=uuid4(),
        changes={"status": ("offline", "online")},
    )

    write(event)
    deliver_all(now)

    assert delivered == [event]
    assert not Delivery.objects.exists()
    assert Event.every_tenant.count() == 1


def test_a_subscriber_runs_for_the_tenant_of_the_event_as_the_system(
    tenant: Tenant, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    scopes: list[Any] = []

    @on(SomethingHappened)
    def subscriber(event: Any) -> None:
        scopes.append((current_tenant_id(), current_caller().kind))

    monkeypatch.setattr(subscribers, "_functions", (subscriber,))

    write(new_event(tenant, now))
    deliver_all(now)

    assert scopes == [(tenant.pk, "system")]


def test_a_failed_delivery_is_retried_with_back_off(
    tenant: Tenant, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[Any] = []

    @on(SomethingHappened)
    def subscriber(event: Any) -> None:
        Tag.objects.create(name="hall")
        attempts.append(event)
        if len(attempts) == 1:
            raise ValueError("not yet")

    monkeypatch.setattr(subscribers, "_functions", (subscriber,))

    write(new_event(tenant, now))
    deliver_all(now)

    row = Delivery.objects.get()
    assert (row.attempts, row.last_error) == (1, "ValueError: not yet")
    assert now < row.due_at <= now + timedelta(seconds=6)
    assert not Tag.every_tenant.exists()  # rolled back
    deliver_all(now + timedelta(minutes=1))
    assert len(attempts) == 2
    assert not Delivery.objects.exists()
    assert Tag.every_tenant.count() == 1


def test_a_delivery_that_always_fails_becomes_dead_and_can_be_retried(
    tenant: Tenant, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    @on(SomethingHappened)
    def subscriber(event: Any) -> None:
        raise ValueError("never")

    monkeypatch.setattr(subscribers, "_functions", (subscriber,))

    write(new_event(tenant, now))
    for hours in range(len(delivery.LEASES.waits) + 4):
        delivery.deliver(now=now + timedelta(hours=2 * hours))

    dead = Delivery.objects.get()
    assert dead.dead_at is not None
    assert dead.attempts == len(delivery.LEASES.waits) + 1
    assert delivery.retry(delivery_ids=[dead.pk], now=now) == 1
    assert Delivery.objects.get().dead_at is None


def test_a_delivery_during_which_every_worker_is_killed_becomes_dead(
    tenant: Tenant, now: datetime, delivered: list[SomethingHappened]
) -> None:
    write(new_event(tenant, now))
    attempts = len(delivery.LEASES.waits) + 1
    for hours in range(attempts):  # the worker is killed after it has leased the delivery
        at = now + timedelta(hours=hours)
        assert len(delivery.LEASES.claim(Delivery.objects.due(at), now=at)) == 1

    deliver_all(now + timedelta(hours=attempts))

    row = Delivery.objects.get()
    assert (row.attempts, row.dead_at) == (attempts, now + timedelta(hours=attempts))
    assert delivered == []


def test_events_of_a_device_are_delivered_in_order_even_if_one_fails(
    tenant: Tenant, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    failing = True

    @on(SomethingHappened)
    def subscriber(event: SomethingHappened) -> None:
        if failing and event.what == "first":
            raise ValueError("not yet")
        order.append(event.what)

    monkeypatch.setattr(subscribers, "_functions", (subscriber,))

    device_id, other_id = uuid4(), uuid4()
    write(
        new_event(tenant, now, "first", device_id=device_id),
        new_event(tenant, now, "second", device_id=device_id),
        new_event(tenant, now, "other device", device_id=other_id),
    )
    deliver_all(now)
    assert order == ["other device"]

    failing = False
    deliver_all(now + timedelta(minutes=1))
    assert order == ["other device", "first", "second"]


def test_the_deliveries_of_one_tenant_do_not_delay_those_of_another(
    tenant: Tenant, now: datetime, delivered: list[SomethingHappened]
) -> None:
    other: Tenant = TenantFactory.create()
    write(*(new_event(tenant, now, whom=uuid4(), device_id=uuid4()) for _ in range(300)))
    write(new_event(other, now, what="of the other"))

    delivery.deliver(now=now, batch_size=20)

    assert "of the other" in [event.what for event in delivered]
    assert len(delivered) <= 20


def test_with_very_many_tenants_each_gets_its_turn(
    now: datetime, delivered: list[SomethingHappened], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "MAX_OWNERS", 2)
    for number in range(6):
        write(new_event(TenantFactory.create(), now, what=str(number)))

    deliver_all(now)

    assert sorted(event.what for event in delivered) == list("012345")


def test_a_worker_killed_after_the_lease_loses_nothing(
    tenant: Tenant, now: datetime, delivered: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    write(new_event(tenant, now))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(delivery, "_attempt", killed)
        delivery.deliver(now=now)

    deliver_all(now + timedelta(seconds=30))
    assert delivered == []  # still leased
    deliver_all(now + delivery.LEASES.duration)
    assert len(delivered) == 1


def test_an_event_without_subscribers_has_no_delivery(tenant: Tenant, now: datetime) -> None:
    write(new_event(tenant, now))

    assert Event.every_tenant.exists()
    assert not Delivery.objects.exists()


def test_events_are_deleted_after_their_retention_unless_a_delivery_is_pending(
    tenant: Tenant, now: datetime, delivered: list[Any]
) -> None:
    for what, days in (("delivered", 2), ("pending", 2), ("recent", 0)):
        write(new_event(tenant, now - timedelta(days=days), what))
        if what == "delivered":
            deliver_all(now)
        audit_log.seal(now=now - timedelta(days=days))

    count = audit_retention.delete_expired(before=now - timedelta(days=1))

    remaining = [event.data["what"] for event in Event.every_tenant.order_by("id")]
    assert count == 1
    assert remaining == ["pending", "recent"]


def test_a_tenant_sees_its_own_events(tenant: Tenant, now: datetime) -> None:
    write(new_event(tenant, now))

    with tenant_scope(tenant.pk):
        assert Event.objects.count() == 1
    with tenant_scope(uuid4()):
        assert Event.objects.count() == 0


COMMIT_AN_EVENT = """
import sys
import time
from datetime import UTC, datetime
import django
django.setup()
from django.db import transaction
from certificates.events import CertificateRevoked
from events.services.outbox import record
from tenants.context import every_tenant_scope
at = datetime.now(UTC)
with every_tenant_scope(), transaction.atomic():
    record([CertificateRevoked(tenant_id=sys.argv[1], device_id=None, at=at,
        serial_number="ff", not_after=at, reason="unspecified")])
print((datetime.now(UTC) - at).total_seconds(), flush=True)
time.sleep(60)
"""


@pytest.mark.django_db(transaction=True)
def test_a_commit_does_not_wait_for_an_unavailable_broker(tenant: Tenant) -> None:
    committing = subprocess.Popen(
        [sys.executable, "-c", COMMIT_AN_EVENT, str(tenant.pk)],
        env={**subprocess_environment(), "REDIS_URL": "redis://127.0.0.1:1/0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with committing:
        assert committing.stdout is not None
        assert committing.stderr is not None
        seconds = float(committing.stdout.readline())
        assert "Redis is unavailable" in committing.stderr.readline()
        committing.kill()

    assert seconds < 3, "The commit did not wait for the broker."
    assert Event.every_tenant.count() == 1
    assert Delivery.objects.waiting().count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_real_worker_delivers(celery_worker: None, tenant: Tenant) -> None:
    """Use a real subscriber, because the worker runs in another process."""
    at = datetime.now(UTC)
    write(
        CertificateRevoked(
            tenant_id=tenant.pk,
            device_id=uuid4(),
            at=at,
            serial_number="ff",
            not_after=at,
            reason="unspecified",
        )
    )
    assert Delivery.objects.count() == 1

    deliver_task.delay()

    wait_until(lambda: not Delivery.objects.exists())


@pytest.mark.django_db(transaction=True)
def test_a_real_worker_deletes_expired_events(celery_worker: None, tenant: Tenant) -> None:
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    write(new_event(tenant, long_ago))
    audit_log.seal(now=long_ago)

    delete_expired_events.delay()

    wait_until(lambda: not Event.every_tenant.exists())
