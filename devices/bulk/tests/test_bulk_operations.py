"""Bulk operations over the API and in a worker."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from rest_framework.test import APIClient

from certificates.services import renewals
from certificates.services.certificate_management import CertificateManagementService
from certificates.tests.issuance import issue_certificate
from devices.bulk.actions import Outcome
from devices.bulk.models import BulkOperation, BulkResult
from devices.bulk.services import details, operations
from devices.bulk.tasks import delete_old_bulk_operations
from devices.registry.models import Device, DeviceTag
from devices.registry.services import quarantine, retirement, sites
from devices.registry.tests.factories import DeviceFactory, SiteFactory
from devices.registry.tests.waiting import wait_until
from events.models import Event
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db
Member = Callable[..., APIClient]
BULK = "/devices/bulk"
ALL = {"all": True}


@pytest.fixture
def fleet(tenant: Tenant) -> list[Device]:
    return [DeviceFactory.create(tenant=tenant, model="X96" if n < 3 else "H96") for n in range(5)]


def started(client: APIClient, action: str, filter: Any = ALL, **parameters: Any) -> str:
    body = {"action": action, "parameters": parameters, "filter": filter}
    response = client.post(BULK, body)
    assert response.status_code == 201, response.json()
    return f"{BULK}/{response.json()['id']}"


def run(now: datetime) -> None:
    with every_tenant_scope():
        while operations.process_next_batch(now=now):
            pass


def tags(device: Device) -> list[str]:
    return sorted(DeviceTag.every_tenant.filter(device=device).values_list("tag__name", flat=True))


def tag(device: Device, *names: str) -> None:
    with tenant_scope(device.tenant_id):
        details._add({device.pk: names})


def counts(client: APIClient, path: str) -> tuple[str, int, int, int]:
    body = client.get(path).json()
    return body["state"], body["done"], body["unchanged"], body["refused"]


def error(response: Any) -> tuple[int, str, str | None]:
    [first, *_] = response.json()["errors"]
    return response.status_code, first["code"], first["attr"]


def test_a_dry_run_counts_devices_and_changes_none(fleet: list[Device], member: Member) -> None:
    body = {"action": "retire", "filter": {"model": "X96"}, "dry_run": True}

    response = member().post(BULK, body)

    assert response.status_code == 200
    assert response.json()["found"] == 3
    assert response.json()["examples"][0] == {"id": str(fleet[0].pk), "name": fleet[0].name}
    assert not BulkOperation.every_tenant.exists()


def test_tags_are_added_to_all_devices_that_match(
    fleet: list[Device], member: Member, now: datetime
) -> None:
    tag(fleet[0], "lobby", "old")
    client = member()

    path = started(client, "add_tags", {"model": "X96"}, tags=["lobby", "floor 2"])
    run(datetime.now().astimezone())

    assert [tags(device) for device in fleet] == [
        ["floor 2", "lobby", "old"],
        ["floor 2", "lobby"],
        ["floor 2", "lobby"],
        [],
        [],
    ]
    assert counts(client, path) == ("finished", 3, 0, 0)
    updated = Event.every_tenant.filter(name="device.updated", device_id=fleet[0].pk).get()
    assert updated.changes == {"tags": [["lobby", "old"], ["floor 2", "lobby", "old"]]}


def test_an_undo_removes_only_the_tags_that_were_added(
    fleet: list[Device], member: Member, now: datetime
) -> None:
    tag(fleet[0], "lobby")
    client = member()
    path = started(client, "add_tags", tags=["lobby", "floor 2"])
    run(now)

    undone = client.post(f"{path}/undo")
    run(now)

    assert undone.status_code == 201
    assert undone.json()["undoes"] == path.rsplit("/", 1)[1]
    assert [tags(device) for device in fleet] == [["lobby"], [], [], [], []]
    assert error(client.post(f"{path}/undo")) == (409, "bulk_operation_cannot_be_undone", None)


def test_removed_tags_return_with_an_undo(
    fleet: list[Device], member: Member, now: datetime
) -> None:
    tag(fleet[0], "lobby", "old")
    client = member()

    path = started(client, "remove_tags", tags=["old", "never used"])
    run(now)
    assert tags(fleet[0]) == ["lobby"]
    assert counts(client, path) == ("finished", 1, 4, 0)

    client.post(f"{path}/undo")
    run(now)
    assert tags(fleet[0]) == ["lobby", "old"]


def test_devices_move_to_a_site_and_back(
    fleet: list[Device], member: Member, tenant: Tenant, now: datetime
) -> None:
    shop, other = (SiteFactory.create(tenant=tenant) for _ in range(2))
    Device.every_tenant.filter(pk=fleet[0].pk).update(site=other)
    client = member()
    ids = ",".join(str(device.pk) for device in fleet[:3])

    path = started(client, "set_site", {"devices": ids}, site=shop.name)
    run(now)
    at_site = set(Device.every_tenant.filter(site=shop).values_list("pk", flat=True))
    assert at_site == {device.pk for device in fleet[:3]}

    Device.every_tenant.filter(pk=fleet[1].pk).update(site=other)  # meanwhile
    client.post(f"{path}/undo")
    run(now)
    at_sites = dict(Device.every_tenant.values_list("pk", "site"))
    assert [at_sites[device.pk] for device in fleet[:3]] == [other.pk, other.pk, None]


def test_a_site_that_is_deleted_meanwhile_is_refused_for_each_device(
    fleet: list[Device], member: Member, tenant: Tenant, now: datetime
) -> None:
    shop = SiteFactory.create(tenant=tenant)
    client = member()
    path = started(client, "set_site", site=str(shop.pk))
    with tenant_scope(tenant.pk):
        sites.delete(site=shop, now=now)

    run(now)

    assert counts(client, path) == ("finished", 0, 0, 5)
    response = client.get(f"{path}/results?outcome=refused")
    assert response.status_code == 200, response.json()
    [row, *_] = response.json()["results"]
    assert row["detail"] == "The site was deleted."


def test_quarantine_is_undone_by_a_release(
    fleet: list[Device], member: Member, now: datetime
) -> None:
    client = member()
    path = started(client, "quarantine")
    run(now)
    assert Device.every_tenant.quarantined().count() == 5

    client.post(f"{path}/undo")
    run(now)

    assert Device.every_tenant.quarantined().count() == 0


def test_devices_are_retired_for_good(fleet: list[Device], member: Member, now: datetime) -> None:
    client = member()
    path = started(client, "retire", {"model": "H96"})
    run(now)

    assert Device.every_tenant.not_retired().count() == 3
    assert client.get(path).json()["can_undo"] is False
    assert error(client.post(f"{path}/undo")) == (409, "bulk_operation_cannot_be_undone", None)


def test_a_device_that_was_retired_meanwhile_is_refused_and_stops_no_other(
    fleet: list[Device], member: Member, tenant: Tenant, now: datetime
) -> None:
    client = member()
    path = started(client, "add_tags", tags=["a"])
    run(now)
    with tenant_scope(tenant.pk):
        retirement.retire(device=fleet[2], now=now)

    client.post(f"{path}/undo")
    run(now)

    undo = BulkOperation.every_tenant.get(undoes__isnull=False)
    assert (undo.done, undo.refused) == (4, 1)
    refused = BulkResult.every_tenant.get(operation=undo, outcome=Outcome.REFUSED)
    assert refused.device_id == fleet[2].pk


def test_a_killed_worker_is_continued_where_it_stopped(
    fleet: list[Device], member: Member, now: datetime
) -> None:
    client = member()
    path = started(client, "add_tags", tags=["a"])
    with patch.object(details.AddTags, "batch", 2):
        with every_tenant_scope():
            operations.process_next_batch(now=now)  # finds the devices
            operations.process_next_batch(now=now)
            assert counts(client, path) == ("running", 2, 0, 0)
            with (
                patch.object(operations, "_store", side_effect=KeyboardInterrupt),
                pytest.raises(KeyboardInterrupt),
            ):
                operations.process_next_batch(now=now)
        assert counts(client, path) == ("running", 2, 0, 0)
        run(now)

    assert counts(client, path) == ("finished", 5, 0, 0)
    assert all(tags(device) == ["a"] for device in fleet)


def test_a_stopped_operation_changes_no_further_devices(
    fleet: list[Device], member: Member, now: datetime
) -> None:
    client = member()
    path = started(client, "add_tags", tags=["a"])
    with patch.object(details.AddTags, "batch", 2), every_tenant_scope():
        operations.process_next_batch(now=now)
        operations.process_next_batch(now=now)

    assert client.post(f"{path}/cancel").json()["state"] == "cancelled"
    run(now)

    assert DeviceTag.every_tenant.count() == 2
    assert error(client.post(f"{path}/cancel")) == (409, "bulk_operation_state_conflict", None)


def test_devices_of_other_tenants_are_never_changed(
    fleet: list[Device], member: Member, now: datetime
) -> None:
    foreign = DeviceFactory.create(tenant=TenantFactory.create())
    client = member()

    started(client, "add_tags", tags=["a"])
    refused = client.post(BULK, {"action": "retire", "filter": {"devices": str(foreign.pk)}})
    run(now)

    assert tags(foreign) == []
    assert error(refused) == (409, "no_devices_found", None)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"action": "explode", "filter": ALL}, (400, "bulk_action_unknown", "action")),
        ({"action": "add_tags", "filter": ALL}, (400, "bulk_parameters_invalid", "tags")),
        (
            {"action": "add_tags", "filter": ALL, "parameters": {"tags": ["a,b"]}},
            (400, "bulk_parameters_invalid", "tags"),
        ),
        (
            {"action": "retire", "filter": ALL, "parameters": {"tags": ["a"]}},
            (400, "bulk_parameters_invalid", "tags"),
        ),
        (
            {"action": "set_site", "filter": ALL, "parameters": {"site": "nowhere"}},
            (400, "site_invalid", "site"),
        ),
        ({"action": "retire", "filter": {}}, (400, "empty_filter", "filter")),
        ({"action": "retire", "filter": {"devices": "1,2"}}, (400, "invalid_filter", None)),
        ({"action": "retire", "filter": {"status": "retired"}}, (400, "invalid_filter", None)),
    ],
)
def test_a_wrong_request_is_refused_with_its_reason(
    fleet: list[Device], member: Member, body: Any, expected: tuple[int, str, str | None]
) -> None:
    status, code, attribute = error(member().post(BULK, body))

    assert (status, code) == expected[:2]
    assert expected[2] is None or attribute == expected[2]
    assert not BulkOperation.every_tenant.exists()


def test_viewers_may_look_but_not_start(fleet: list[Device], member: Member) -> None:
    path = started(member(), "add_tags", tags=["a"])
    viewer = member(Role.VIEWER)

    assert viewer.get(BULK).status_code == 200
    assert viewer.get(f"{path}/results").status_code == 200
    assert viewer.post(BULK, {"action": "retire", "filter": ALL}).status_code == 403
    assert viewer.post(f"{path}/cancel").status_code == 403


def test_old_operations_are_deleted_with_their_results(
    fleet: list[Device], member: Member, now: datetime
) -> None:
    started(member(), "add_tags", tags=["a"])
    run(now)
    BulkOperation.every_tenant.update(requested_at=now - timedelta(days=90))

    delete_old_bulk_operations()

    assert not BulkResult.every_tenant.exists()
    assert not BulkOperation.every_tenant.exists()


@pytest.mark.django_db(transaction=True)
def test_a_worker_runs_an_operation(
    celery_worker: None, fleet: list[Device], member: Member
) -> None:
    client = member()

    path = started(client, "add_tags", tags=["a"])

    wait_until(lambda: client.get(path).json()["state"] == "finished", timeout=60)
    assert all(tags(device) == ["a"] for device in fleet)


def test_certificates_in_use_are_renewed_on_request(
    fleet: list[Device], member: Member, now: datetime
) -> None:
    old = issue_certificate(fleet[0], now=now)
    client = member()

    path = started(client, "renew_certificates")
    run(now)

    assert counts(client, path) == ("finished", 1, 0, 4)
    with every_tenant_scope():
        service = CertificateManagementService()
        assert renewals.claim_due(service, now=now) == [old.pk]
        assert renewals.claim_due(service, now=now) == []  # leased
        later = now + timedelta(minutes=11)
        assert renewals.claim_due(service, now=later) == [old.pk]  # it was not renewed
        service.renew_certificate(old, now=later)
        assert renewals.claim_due(service, now=later + timedelta(minutes=11)) == []


def test_exactly_the_devices_that_matched_are_changed(
    fleet: list[Device], member: Member, now: datetime
) -> None:
    client = member()
    path = started(client, "retire", {"model": "X96"})
    with patch.object(details.Retire, "batch", 1), every_tenant_scope():
        operations.process_next_batch(now=now)
        Device.every_tenant.filter(pk=fleet[4].pk).update(model="X96")  # meanwhile
        run(now)

    assert counts(client, path) == ("finished", 3, 0, 0)
    kept = set(Device.every_tenant.not_retired().values_list("pk", flat=True))
    assert kept == {fleet[3].pk, fleet[4].pk}


def test_an_operation_that_fails_stops_no_other(
    fleet: list[Device], member: Member, now: datetime
) -> None:
    client = member()
    failing, good = started(client, "retire"), started(client, "add_tags", tags=["a"])

    with patch.object(details.Retire, "apply", side_effect=OSError("disk")):
        run(now)

    assert counts(client, failing) == ("failed", 0, 0, 0)
    assert counts(client, good) == ("finished", 5, 0, 0)
    assert Device.every_tenant.not_retired().count() == 5


def test_an_undo_keeps_a_quarantine_that_is_newer(
    fleet: list[Device], member: Member, tenant: Tenant, now: datetime
) -> None:
    client = member()
    path = started(client, "quarantine", {"model": "H96"})
    run(now)
    later = now + timedelta(hours=1)
    with tenant_scope(tenant.pk):
        quarantine.release(device=fleet[3], now=later)
        quarantine.quarantine(device=fleet[3], reason="cloned", now=later)

    client.post(f"{path}/undo")
    run(later)

    quarantined = Device.every_tenant.quarantined()
    assert [device.pk for device in quarantined] == [fleet[3].pk]
    undo = BulkOperation.every_tenant.get(undoes__isnull=False)
    assert (undo.done, undo.unchanged) == (1, 1)


def test_an_operation_is_kept_as_long_as_its_undo(
    fleet: list[Device], member: Member, now: datetime
) -> None:
    client = member()
    path = started(client, "add_tags", tags=["a"])
    run(now)
    BulkOperation.every_tenant.update(requested_at=now - timedelta(days=90))
    client.post(f"{path}/undo")

    delete_old_bulk_operations()

    assert BulkOperation.every_tenant.count() == 2
