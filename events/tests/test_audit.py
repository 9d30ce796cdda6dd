"""Tests of the audit log, which is append-only and detects tampering."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from devices.registry.device_report import DeviceReport
from devices.registry.services import registration
from devices.registry.tests.waiting import wait_until
from events.models import Delivery, Event, Seal, Unsealed
from events.services import audit_log, audit_retention
from events.tasks import seal_events as seal_task
from tenants.context import tenant_scope
from tenants.models import Tenant
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db


def sql(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def tamper(statement: str, *values: Any) -> None:
    """Run a statement with the triggers disabled. The owner of the database could do this."""
    sql("SET CONSTRAINTS ALL IMMEDIATE")
    for table in ("events_event", "events_seal"):
        sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    sql(statement, *values)
    for table in ("events_event", "events_seal"):
        sql(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def write(tenant: Tenant, now: datetime, count: int = 3) -> list[int]:
    """Register devices in a tenant. Return the ids of the tenant's events, in order."""
    start = Event.every_tenant.count()
    with tenant_scope(tenant.pk):
        for number in range(count):
            registration.register(
                report=DeviceReport(serial_number=f"SN-{start}-{number}"), now=now
            )
    return sorted(Event.every_tenant.filter(tenant=tenant).values_list("pk", flat=True))


def breaks() -> list[tuple[int | None, str]]:
    return [(item.event_id, item.what) for item in audit_log.verify().breaks]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events_event SET name = 'x'",
        "DELETE FROM events_event",
        "UPDATE events_seal SET number = 7",
        "DELETE FROM events_seal",
    ],
)
def test_the_applications_role_cannot_change_or_delete_events_and_seals(
    tenant: Tenant, now: datetime, statement: str
) -> None:
    write(tenant, now)
    audit_log.seal(now=now)

    with pytest.raises(DatabaseError, match="only ever added to"), transaction.atomic():
        sql(statement)


def test_events_are_sealed_in_their_tenants_chain(tenant: Tenant, now: datetime) -> None:
    other = TenantFactory.create()
    write(tenant, now)
    write(other, now, 2)

    assert audit_log.seal(now=now) == 5
    write(tenant, now, 1)
    assert audit_log.seal(now=now) == 1
    assert audit_log.seal(now=now) == 0

    numbers = Seal.objects.filter(chain=tenant.pk).values_list("number", flat=True)
    assert list(numbers) == [1, 2]
    verdict = audit_log.verify()
    assert (verdict.events, verdict.seals, verdict.unsealed) == (6, 3, 0)
    assert verdict.breaks == []


def test_unsealed_events_are_counted_and_are_no_break(tenant: Tenant, now: datetime) -> None:
    write(tenant, now)

    assert audit_log.verify().unsealed == 3
    assert breaks() == []


def test_a_changed_event_is_detected(tenant: Tenant, now: datetime) -> None:
    ids = write(tenant, now)
    audit_log.seal(now=now)

    tamper("UPDATE events_event SET caller_name = 'x' WHERE id = %s", ids[1])

    assert breaks() == [(ids[1], "the event was changed")]


def test_a_deleted_event_is_detected(tenant: Tenant, now: datetime) -> None:
    ids = write(tenant, now)
    audit_log.seal(now=now)

    tamper("DELETE FROM events_event WHERE id = %s", ids[0])

    assert breaks() == [(ids[0], "the event is missing")]


def test_an_event_deleted_before_it_was_sealed_is_detected(tenant: Tenant, now: datetime) -> None:
    ids = write(tenant, now)
    tamper("DELETE FROM events_event WHERE id = %s", ids[0])

    audit_log.seal(now=now)

    assert breaks() == [(ids[0], "the event is missing")]


def test_an_event_inserted_without_the_trigger_is_detected(tenant: Tenant, now: datetime) -> None:
    ids = write(tenant, now)
    audit_log.seal(now=now)

    tamper(
        "INSERT INTO events_event (tenant_id, name, at, caller_kind, caller_id,"
        " caller_name, request_id, data, changes)"
        " SELECT tenant_id, name, at, caller_kind, '', '', '', data, changes"
        " FROM events_event WHERE id = %s",
        ids[0],
    )

    assert [what for _, what in breaks()] == ["the event is in no seal"]


def test_a_deleted_seal_and_its_events_are_detected(tenant: Tenant, now: datetime) -> None:
    for _ in range(3):
        write(tenant, now, 1)
        audit_log.seal(now=now)

    tamper("DELETE FROM events_seal WHERE number = 2")

    assert [what for _, what in breaks()] == ["seals 2 to 2 are missing", "the event is in no seal"]


def test_an_event_changed_together_with_its_seal_breaks_the_next_seal(
    tenant: Tenant, now: datetime
) -> None:
    for _ in range(2):
        write(tenant, now, 1)
        audit_log.seal(now=now)
    first = Seal.objects.get(number=1)
    tamper("UPDATE events_event SET name = 'x.y' WHERE id = %s", first.event_ids[0])
    event = Event.every_tenant.get(pk=first.event_ids[0])
    first.digests = audit_log.digest_of(event)
    first.digest = audit_log._digest_of_link(first)
    tamper(
        "UPDATE events_seal SET digests = %s, digest = %s WHERE number = 1",
        first.digests,
        first.digest,
    )

    assert [what for _, what in breaks()] == [
        "the seal does not match the digest of the previous seal"
    ]


def test_events_deleted_after_their_retention_are_no_break(tenant: Tenant, now: datetime) -> None:
    write(tenant, now - timedelta(days=2))
    audit_log.seal(now=now - timedelta(days=2))
    write(tenant, now)
    audit_log.seal(now=now)

    assert audit_retention.delete_expired(before=now - timedelta(days=1)) == 3

    assert breaks() == []
    assert Event.every_tenant.count() == 3
    assert Seal.objects.get().number == 2


def test_each_chain_is_deleted_up_to_its_first_event_that_a_subscriber_waits_for(
    tenant: Tenant, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_retention, "MAX_EVENTS", 4)
    other = TenantFactory.create()
    for day in (5, 4, 3):
        for owner in (tenant, other):
            write(owner, now - timedelta(days=day), count=2)
        audit_log.seal(now=now - timedelta(days=day))
    awaited = Event.every_tenant.filter(tenant=tenant).order_by("id")[2]
    Delivery.objects.create(event=awaited, listener="x", due_at=now)

    assert audit_retention.lag(before=now - timedelta(days=1)) == timedelta(days=4)
    assert audit_retention.delete_expired(before=now - timedelta(days=1)) == 8
    assert breaks() == []
    assert set(Seal.objects.values_list("chain", "number")) == {(tenant.pk, 2), (tenant.pk, 3)}
    assert audit_retention.lag(before=now - timedelta(days=1)) == timedelta(days=3)


def test_a_deletion_that_runs_out_of_time_is_continued_by_the_next(
    tenant: Tenant, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_retention, "MAX_EVENTS", 2)
    for day in (5, 4):
        write(tenant, now - timedelta(days=day), count=2)
        audit_log.seal(now=now - timedelta(days=day))
    answers = iter((False, True))

    def delete() -> int:
        return audit_retention.delete_expired(
            before=now - timedelta(days=1), time_is_up=lambda: next(answers, False)
        )

    assert (delete(), breaks()) == (2, [])
    assert (delete(), breaks()) == (2, [])
    assert not Seal.objects.exists()


def test_sealing_takes_as_many_statements_for_many_tenants_as_for_one(now: datetime) -> None:
    counts = []
    for tenants in (1, 5):
        for _ in range(tenants):
            write(TenantFactory.create(), now, count=1)
        assert audit_log.lag(now=now + timedelta(minutes=2)) == timedelta(minutes=2)
        with CaptureQueriesContext(connection) as captured:
            assert audit_log.seal(now=now) == tenants
        counts.append(len(captured))

    assert counts[0] == counts[1]
    assert audit_log.lag(now=now) == timedelta()


def test_the_command_reports_an_unchanged_log(tenant: Tenant, now: datetime, capsys: Any) -> None:
    write(tenant, now)
    audit_log.seal(now=now)

    call_command("verify_audit_log", tenant=tenant.slug, as_json=True)

    result = json.loads(capsys.readouterr().out)
    assert (result["events"], result["breaks"]) == (3, [])
    assert set(result["heads"]) == {str(tenant.pk)}


def test_the_command_reports_a_break(tenant: Tenant, now: datetime) -> None:
    ids = write(tenant, now)
    audit_log.seal(now=now)
    tamper("DELETE FROM events_event WHERE id = %s", ids[0])

    with pytest.raises(CommandError, match=f"event {ids[0]}: the event is missing"):
        call_command("verify_audit_log")


@pytest.mark.django_db(transaction=True)
def test_a_worker_seals_events(tenant: Tenant, now: datetime, celery_worker: None) -> None:
    write(tenant, now)

    seal_task.delay()

    wait_until(lambda: not Unsealed.objects.exists())
    assert Seal.objects.count() == 1
