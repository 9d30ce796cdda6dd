import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from certificates.events import CertificateRevoked
from devices.registry.models import Tag
from devices.registry.tests.waiting import until
from events.domain_events import DomainEvent
from events.extension_points import on, subscribers
from events.models import Delivery, Event
from events.services import audit_log, delivery
from events.services.outbox import record
from events.tasks import delete_expired_events
from events.tasks import deliver_events as deliver_task
from provisioning.tests.processes import other_process
from tenants.context import current_caller, current_tenant_id, tenant_scope
from tenants.models import Tenant

pytestmark = pytest.mark.django_db


class SomethingHappened(DomainEvent):
    name = "something.happened"

    what: str
    when: datetime | None = None
    whom: UUID | None = None


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[SomethingHappened]:
    """What one listener hears."""
    facts: list[SomethingHappened] = []

    @on(SomethingHappened)
    def listen(fact: SomethingHappened) -> None:
        facts.append(fact)

    monkeypatch.setattr(subscribers, "_functions", (listen,))
    return facts


def happened(
    tenant: Tenant, at: datetime, what: str = "it", **fields: Any
) -> DomainEvent:
    return SomethingHappened(tenant_id=tenant.pk, at=at, what=what, **fields)


def write(*facts: DomainEvent) -> None:
    with transaction.atomic():
        record(facts)


def deliver_all(now: datetime) -> None:
    while delivery.deliver(now=now):
        pass


@pytest.mark.django_db(transaction=True)
def test_a_fact_outside_a_transaction_is_refused(tenant: Tenant, now: datetime) -> None:
    with pytest.raises(transaction.TransactionManagementError):
        record([happened(tenant, now)])


def test_a_fact_goes_with_the_transaction_that_made_it(
    tenant: Tenant, now: datetime, heard: list[Any]
) -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        record([happened(tenant, now)])
        raise RuntimeError

    deliver_all(now)
    assert not Event.every_tenant.exists()
    assert heard == []


def test_a_fact_is_heard_as_it_was_recorded(
    tenant: Tenant, now: datetime, heard: list[Any]
) -> None:
    fact = happened(
        tenant,
        now,
        device_id=uuid4(),
        when=now - timedelta(days=1),
        whom=uuid4(),
        changes={"status": ("offline", "online")},
    )

    write(fact)
    deliver_all(now)

    assert heard == [fact]
    assert not Delivery.objects.exists()
    assert Event.every_tenant.count() == 1


def test_a_listener_acts_for_the_tenant_of_the_event_as_the_system(
    tenant: Tenant, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    acted_for: list[Any] = []

    @on(SomethingHappened)
    def listen(fact: Any) -> None:
        acted_for.append((current_tenant_id(), current_caller().kind))

    monkeypatch.setattr(subscribers, "_functions", (listen,))

    write(happened(tenant, now))
    deliver_all(now)

    assert acted_for == [(tenant.pk, "system")]


def test_a_listener_that_fails_is_tried_again_with_back_off(
    tenant: Tenant, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[Any] = []

    @on(SomethingHappened)
    def listen(fact: Any) -> None:
        Tag.objects.create(name="left behind")
        attempts.append(fact)
        if len(attempts) == 1:
            raise ValueError("not yet")

    monkeypatch.setattr(subscribers, "_functions", (listen,))

    write(happened(tenant, now))
    deliver_all(now)

    row = Delivery.objects.get()
    assert (row.attempts, row.last_error) == (1, "ValueError: not yet")
    assert now < row.due_at <= now + timedelta(seconds=6)
    assert not Tag.every_tenant.exists()  # what it did is undone with it
    deliver_all(now + timedelta(minutes=1))
    assert len(attempts) == 2
    assert not Delivery.objects.exists()
    assert Tag.every_tenant.count() == 1


def test_a_listener_that_always_fails_ends_as_a_dead_letter(
    tenant: Tenant, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    @on(SomethingHappened)
    def listen(fact: Any) -> None:
        raise ValueError("never")

    monkeypatch.setattr(subscribers, "_functions", (listen,))

    write(happened(tenant, now))
    for hours in range(delivery.MOST_ATTEMPTS + 3):
        delivery.deliver(now=now + timedelta(hours=2 * hours))

    dead = Delivery.objects.get()
    assert dead.dead_at is not None
    assert dead.attempts == delivery.MOST_ATTEMPTS
    assert delivery.retry(delivery_ids=[dead.pk], now=now) == 1
    assert Delivery.objects.get().dead_at is None


def test_a_devices_events_are_heard_in_order_even_when_one_fails(
    tenant: Tenant, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    failing = True

    @on(SomethingHappened)
    def listen(fact: SomethingHappened) -> None:
        if failing and fact.what == "first":
            raise ValueError("not yet")
        order.append(fact.what)

    monkeypatch.setattr(subscribers, "_functions", (listen,))

    one, other = uuid4(), uuid4()
    write(
        happened(tenant, now, "first", device_id=one),
        happened(tenant, now, "second", device_id=one),
        happened(tenant, now, "elsewhere", device_id=other),
    )
    deliver_all(now)
    assert order == ["elsewhere"]

    failing = False
    deliver_all(now + timedelta(minutes=1))
    assert order == ["elsewhere", "first", "second"]


def test_a_worker_killed_after_the_lease_loses_nothing(
    tenant: Tenant, now: datetime, heard: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    write(happened(tenant, now))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(delivery, "_attempt", killed)
        delivery.deliver(now=now)

    deliver_all(now + timedelta(seconds=30))
    assert heard == []  # leased still
    deliver_all(now + delivery.LEASE)
    assert len(heard) == 1


def test_an_event_that_nobody_listens_to_leaves_no_delivery(
    tenant: Tenant, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(happened(tenant, now))

    assert Event.every_tenant.exists()
    assert not Delivery.objects.exists()


def test_events_are_dropped_after_their_retention_unless_still_to_be_told(
    tenant: Tenant, now: datetime, heard: list[Any]
) -> None:
    for what, at in (("told", 2), ("to be told", 2), ("young", 0)):
        write(happened(tenant, now - timedelta(days=at), what))
        if what == "told":
            deliver_all(now)
        audit_log.seal(now=now - timedelta(days=at))

    dropped = audit_log.drop_outlived(before=now - timedelta(days=1))

    left = [event.data["what"] for event in Event.every_tenant.order_by("id")]
    assert dropped == 1
    assert left == ["to be told", "young"]


def test_a_tenant_sees_its_own_events(tenant: Tenant, now: datetime) -> None:
    write(happened(tenant, now))

    with tenant_scope(tenant.pk):
        assert Event.objects.count() == 1
    with tenant_scope(uuid4()):
        assert Event.objects.count() == 0


COMMIT_A_FACT = """
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
def test_a_commit_goes_on_when_the_broker_is_away(tenant: Tenant) -> None:
    committing = subprocess.Popen(
        [sys.executable, "-c", COMMIT_A_FACT, str(tenant.pk)],
        env={**other_process(), "REDIS_URL": "redis://127.0.0.1:1/0"},
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
    """The worker's own listeners hear; this one is certificates' own."""
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

    until(lambda: not Delivery.objects.exists())


@pytest.mark.django_db(transaction=True)
def test_a_real_worker_drops_what_has_outlived_its_retention(
    celery_worker: None, tenant: Tenant
) -> None:
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    write(happened(tenant, long_ago))
    audit_log.seal(now=long_ago)

    delete_expired_events.delay()

    until(lambda: not Event.every_tenant.exists())
