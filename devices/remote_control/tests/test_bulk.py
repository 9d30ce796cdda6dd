"""Bulk commands: preview, confirmation by a second member and processing."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection
from rest_framework.test import APIClient

from devices.registry.models import Device
from devices.registry.tests.factories import TagFactory
from devices.remote_control.errors import SecondPersonRequired
from devices.remote_control.models import BulkCommand, CommandHistory
from devices.remote_control.services import bulk_commands, policies, sessions
from devices.remote_control.tests.remote_control import create_member, errors, online_device
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Role, Tenant, User
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db
BULK = "/remote-control/bulk"
REBOOT: dict[str, Any] = {"type": "reboot", "filter": {"all": True}}


@pytest.fixture
def fleet(acting: Tenant) -> list[Device]:
    return [online_device(acting, model="X96" if n < 3 else "H96") for n in range(5)]


@pytest.fixture
def operator(tenant: Tenant) -> User:
    return create_member(tenant)


def request(by: User, now: datetime, **filter: str) -> BulkCommand:
    return bulk_commands.request(type="reload", parameters={}, filter=filter, by=by, now=now)


def process_all(now: datetime) -> None:
    while bulk_commands.process_next_batch(now=now):
        pass


def commanded_ids() -> set[Any]:
    return set(CommandHistory.every_tenant.values_list("device_id", flat=True))


def test_a_dry_run_counts_devices_and_commands_none(
    fleet: list[Device], member: Callable[..., APIClient]
) -> None:
    Device.every_tenant.filter(pk=fleet[0].pk).update(status="offline")

    body = {**REBOOT, "filter": {"model": "X96"}, "dry_run": True}
    response = member().post(BULK, body)

    assert response.status_code == 200
    assert response.json() == {
        "found": 3,
        "online": 2,
        "controlled": 0,
        "blast_radius": 50,
        "needs_confirmation": False,
    }
    assert not BulkCommand.every_tenant.exists()


def test_every_matching_device_is_commanded(
    fleet: list[Device], operator: User, now: datetime
) -> None:
    row = request(operator, now, model="X96")

    process_all(now)

    row.refresh_from_db()
    assert commanded_ids() == {device.pk for device in fleet[:3]}
    assert (row.state, row.done, row.left_out) == ("finished", 3, 0)


def test_controlled_devices_are_skipped(fleet: list[Device], operator: User, now: datetime) -> None:
    sessions.start(device=fleet[0], controller=operator, now=now)
    row = request(operator, now)

    process_all(now)

    row.refresh_from_db()
    assert (row.done, row.left_out) == (4, 1)
    assert fleet[0].pk not in commanded_ids()


def test_exceeding_the_blast_radius_requires_a_second_member(
    acting: Tenant, fleet: list[Device], member: Callable[..., APIClient]
) -> None:
    now = datetime.now().astimezone()
    policies.change(blast_radius=4, now=now)
    first, second = member(), member()

    requested = first.post(BULK, REBOOT).json()
    process_all(datetime.now().astimezone())
    row = BulkCommand.objects.get(pk=requested["id"])
    assert requested["state"] == "waiting"
    assert requested["confirm_by"]
    with pytest.raises(SecondPersonRequired):
        bulk_commands.confirm(bulk=row, by=row.requested_by, now=now)
    by_token = second.post(f"{BULK}/{requested['id']}/confirm")
    assert errors(by_token) == (403, [("interactive_session_required", None)])
    assert commanded_ids() == set()

    confirmed = bulk_commands.confirm(bulk=row, by=create_member(acting), now=now)
    process_all(datetime.now().astimezone())

    assert confirmed.state == "running"
    bulk = first.get(f"{BULK}/{requested['id']}").json()
    assert (bulk["state"], bulk["done"]) == ("finished", 5)
    assert bulk["outcomes"] == {"queued": 5}


def test_no_more_devices_are_commanded_than_were_counted(
    acting: Tenant, fleet: list[Device], operator: User, now: datetime
) -> None:
    """If the filter matches more devices later, still only the counted number gets commands."""
    row = request(operator, now, model="X96")
    Device.every_tenant.update(model="X96")

    process_all(now)

    row.refresh_from_db()
    assert (row.found, row.done, len(commanded_ids())) == (3, 3, 3)


def test_devices_registered_after_the_request_are_skipped(
    acting: Tenant, fleet: list[Device], operator: User, now: datetime
) -> None:
    request(operator, now)
    new = online_device(acting, registered_at=now + timedelta(seconds=1))
    sessions.start(device=fleet[0], controller=operator, now=now)

    process_all(now)

    assert new.pk not in commanded_ids()
    assert len(commanded_ids()) == 4


def test_types_that_do_not_wait_reach_online_devices_only(
    acting: Tenant, fleet: list[Device], member: Callable[..., APIClient]
) -> None:
    Device.every_tenant.filter(pk=fleet[0].pk).update(status="offline")
    wake_up = {"type": "wake_up", "filter": {"all": True}, "dry_run": True}

    assert member().post(BULK, wake_up).json()["found"] == 4
    assert member().post(BULK, {**REBOOT, "dry_run": True}).json()["found"] == 5


def test_the_history_is_filtered_by_bulk_command(
    fleet: list[Device], operator: User, now: datetime, member: Callable[..., APIClient]
) -> None:
    row = request(operator, now)
    process_all(now)

    matching = member().get(f"/remote-control/commands?bulk={row.pk}").json()["results"]
    other = member().get(f"/remote-control/commands?bulk={fleet[0].pk}").json()

    for value in ("", str(row.pk).replace("-", ""), f"urn:uuid:{row.pk}", "x"):
        refused = member().get("/remote-control/commands", {"bulk": value})
        assert errors(refused) == (400, [("invalid", "bulk")]), value
    assert {command["device"] for command in matching} == {str(device.pk) for device in fleet}
    assert other["results"] == []


def test_a_bulk_command_stops_when_the_policy_forbids_its_type(
    acting: Tenant, fleet: list[Device], operator: User, now: datetime
) -> None:
    request(operator, now)
    policies.change(allowed_types=["tap"], now=now)

    process_all(now)

    assert commanded_ids() == set()


def test_an_unconfirmed_bulk_command_lapses_after_an_hour(
    fleet: list[Device], operator: User, now: datetime
) -> None:
    policies.change(blast_radius=0, now=now)
    row = request(operator, now)
    hour = timedelta(hours=1)

    assert bulk_commands.lapse_unconfirmed(now=now + hour - timedelta(seconds=1)) == 0
    assert bulk_commands.lapse_unconfirmed(now=now + hour) == 1
    row.refresh_from_db()
    assert row.state == "lapsed"


def test_a_running_bulk_command_can_be_cancelled(
    fleet: list[Device], operator: User, now: datetime
) -> None:
    row = request(operator, now)
    with patch.object(bulk_commands, "BATCH", 2):
        bulk_commands.process_next_batch(now=now)

    bulk_commands.cancel(bulk=row, now=now)
    process_all(now)

    assert len(commanded_ids()) == 2
    row.refresh_from_db()
    assert (row.state, row.done) == ("cancelled", 2)


def test_a_killed_worker_loses_nothing_and_repeats_nothing(
    fleet: list[Device], operator: User, now: datetime
) -> None:
    row = request(operator, now)
    with patch.object(bulk_commands, "BATCH", 2):
        bulk_commands.process_next_batch(now=now)
        with (
            patch.object(BulkCommand, "save", side_effect=KeyboardInterrupt),
            pytest.raises(KeyboardInterrupt),
        ):
            bulk_commands.process_next_batch(now=now)
        assert len(commanded_ids()) == 2
        process_all(now)

    row.refresh_from_db()
    assert row.done == 5
    assert CommandHistory.every_tenant.count() == 5


@pytest.mark.django_db(transaction=True)
def test_concurrent_workers_command_each_device_once(
    fleet: list[Device], operator: User, now: datetime
) -> None:
    request(operator, now)

    def run_worker(_: int) -> None:
        with tenant_scope(None), every_tenant_scope():
            process_all(now)
        connection.close()

    with patch.object(bulk_commands, "BATCH", 1), ThreadPoolExecutor(4) as pool:
        list(pool.map(run_worker, range(4)))
    process_all(now)

    assert CommandHistory.every_tenant.count() == 5


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"type": "reboot"}, ("required", "filter")),
        ({**REBOOT, "filter": {"colour": "red"}}, ("invalid_filter", "filter.colour")),
        ({**REBOOT, "filter": {"status": "lost"}}, ("invalid_filter", "filter.status")),
        ({**REBOOT, "filter": {"status": "retired"}}, ("invalid_filter", "filter.status")),
        ({**REBOOT, "filter": {"status": ""}}, ("invalid_filter", "filter.status")),
        ({**REBOOT, "filter": {"tag": ""}}, ("invalid_filter", "filter.tag")),
        ({**REBOOT, "filter": {"model": " "}}, ("invalid_filter", "filter.model")),
        ({**REBOOT, "filter": {"search": "\u3000\u200b"}}, ("invalid_filter", "filter.search")),
        ({**REBOOT, "filter": {}}, ("empty_filter", "filter")),
        ({**REBOOT, "filter": {"all": False}}, ("not_alone", "filter")),
        ({**REBOOT, "filter": {"all": "true"}}, ("not_alone", "filter")),
        ({**REBOOT, "filter": {"all": True, "tag": "lobby"}}, ("not_alone", "filter")),
        (
            {"type": "tap", "parameters": {"x": 1, "y": 1}, "filter": {"all": True}},
            ("gesture_to_many", "type"),
        ),
        ({**REBOOT, "parameters": {"x": 1}}, ("unknown_field", "parameters.x")),
    ],
)
def test_an_invalid_request_is_refused_with_its_field(
    fleet: list[Device],
    member: Callable[..., APIClient],
    body: dict[str, Any],
    expected: tuple[str, str],
) -> None:
    assert errors(member().post(BULK, body)) == (400, [expected])
    assert not BulkCommand.every_tenant.exists()


def test_a_filter_that_matches_no_device_is_refused(
    acting: Tenant, member: Callable[..., APIClient]
) -> None:
    refused = member().post(BULK, {**REBOOT, "filter": {"model": "none"}})

    assert errors(refused) == (409, [("no_devices_found", None)])


def test_a_viewer_may_read_only(
    fleet: list[Device], operator: User, now: datetime, member: Callable[..., APIClient]
) -> None:
    row = request(operator, now)
    viewer = member(Role.VIEWER)

    assert [bulk["id"] for bulk in viewer.get(BULK).json()["results"]] == [str(row.pk)]
    for path in (BULK, f"{BULK}/{row.pk}/confirm", f"{BULK}/{row.pk}/cancel"):
        assert viewer.post(path, REBOOT).status_code == 403


def test_devices_are_filtered_by_tag(
    acting: Tenant, fleet: list[Device], operator: User, now: datetime
) -> None:
    tag = TagFactory.create(tenant=acting, name="hall")
    fleet[1].device_tags.create(tenant=acting, tag=tag)

    request(operator, now, tag="hall")
    process_all(now)

    assert commanded_ids() == {fleet[1].pk}


def test_many_bulk_commands_of_one_tenant_do_not_delay_another_tenant(
    fleet: list[Device], operator: User, now: datetime
) -> None:
    other = TenantFactory.create()
    with tenant_scope(other.pk):
        online_device(other)
        by = create_member(other)
        for _ in range(60):
            request(by, now - timedelta(hours=1))
    row = request(operator, now)

    for _ in range(40):  # at random; the chance that the second tenant never gets a turn is 2^-40
        bulk_commands.process_next_batch(now=now)

    row.refresh_from_db()
    assert row.done == 5
