"""One command to many: counted before, confirmed by a second person, worked through."""

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
from devices.remote_control.models import BulkCommand, CommandHistory
from devices.remote_control.services import bulk_commands, policies, sessions
from devices.remote_control.tests.remote_control import errors, online, person
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Role, Tenant, User

pytestmark = pytest.mark.django_db
BULK = "/remote-control/bulk"
REBOOT: dict[str, Any] = {"type": "reboot", "filter": {}}


@pytest.fixture
def fleet(acting: Tenant) -> list[Device]:
    return [online(acting, model="X96" if n < 3 else "H96") for n in range(5)]


@pytest.fixture
def operator(tenant: Tenant) -> User:
    return person(tenant)


def requested(by: User, now: datetime, **filter: str) -> BulkCommand:
    return bulk_commands.request(
        type="reload", parameters={}, filter=filter, by=by, now=now
    )


def work(now: datetime) -> None:
    while bulk_commands.work(now=now):
        pass


def commanded() -> set[Any]:
    return set(CommandHistory.every_tenant.values_list("device_id", flat=True))


def test_a_dry_run_counts_and_commands_nobody(
    fleet: list[Device], member: Callable[..., APIClient]
) -> None:
    Device.every_tenant.filter(pk=fleet[0].pk).update(status="offline")

    told = member().post(BULK, {**REBOOT, "filter": {"model": "X96"}, "dry_run": True})

    assert told.status_code == 200
    assert told.json() == {
        "found": 3,
        "online": 2,
        "controlled": 0,
        "blast_radius": 50,
        "needs_confirmation": False,
    }
    assert not BulkCommand.every_tenant.exists()


def test_every_device_that_the_filter_finds_is_commanded(
    fleet: list[Device], operator: User, now: datetime
) -> None:
    row = requested(operator, now, model="X96")

    work(now)

    row.refresh_from_db()
    assert commanded() == {device.pk for device in fleet[:3]}
    assert (row.state, row.done, row.left_out) == ("finished", 3, 0)


def test_who_is_controlled_by_somebody_is_left_out(
    fleet: list[Device], operator: User, now: datetime
) -> None:
    sessions.start(device=fleet[0], controller=operator, now=now)
    row = requested(operator, now)

    work(now)

    row.refresh_from_db()
    assert (row.done, row.left_out) == (4, 1)
    assert fleet[0].pk not in commanded()


def test_more_than_the_blast_radius_wants_a_second_person(
    fleet: list[Device], member: Callable[..., APIClient], now: datetime
) -> None:
    policies.change(blast_radius=4, now=now)
    first, second = member(), member()

    asked = first.post(BULK, REBOOT).json()
    work(datetime.now().astimezone())
    own = first.post(f"{BULK}/{asked['id']}/confirm")
    assert asked["state"] == "waiting"
    assert asked["confirm_by"]
    assert errors(own) == (403, [("second_person_needed", None)])
    assert commanded() == set()

    confirmed = second.post(f"{BULK}/{asked['id']}/confirm")
    work(datetime.now().astimezone())

    assert confirmed.json()["state"] == "running"
    told = first.get(f"{BULK}/{asked['id']}").json()
    assert (told["state"], told["done"]) == ("finished", 5)
    assert told["outcomes"] == {"queued": 5}


def test_never_more_are_commanded_than_were_counted(
    acting: Tenant, fleet: list[Device], operator: User, now: datetime
) -> None:
    """Else a filter that finds more meanwhile goes round the second person."""
    row = requested(operator, now, model="X96")
    Device.every_tenant.update(model="X96")

    work(now)

    row.refresh_from_db()
    assert (row.found, row.done, len(commanded())) == (3, 3, 3)


def test_who_came_in_later_was_not_counted(
    acting: Tenant, fleet: list[Device], operator: User, now: datetime
) -> None:
    requested(operator, now)
    new = online(acting, registered_at=now + timedelta(seconds=1))
    sessions.start(device=fleet[0], controller=operator, now=now)

    work(now)

    assert new.pk not in commanded()
    assert len(commanded()) == 4


def test_what_does_not_wait_is_for_those_that_are_online(
    acting: Tenant, fleet: list[Device], member: Callable[..., APIClient]
) -> None:
    Device.every_tenant.filter(pk=fleet[0].pk).update(status="offline")
    wake_up = {"type": "wake_up", "filter": {}, "dry_run": True}

    assert member().post(BULK, wake_up).json()["found"] == 4
    assert member().post(BULK, {**REBOOT, "dry_run": True}).json()["found"] == 5


def test_its_commands_are_found_in_the_history(
    fleet: list[Device], operator: User, now: datetime, member: Callable[..., APIClient]
) -> None:
    row = requested(operator, now)
    work(now)

    of_it = member().get(f"/remote-control/commands?bulk={row.pk}").json()["results"]
    of_none = member().get(f"/remote-control/commands?bulk={fleet[0].pk}").json()

    for wrong in ("", str(row.pk).replace("-", ""), f"urn:uuid:{row.pk}", "x"):
        refused = member().get("/remote-control/commands", {"bulk": wrong})
        assert errors(refused) == (400, [("invalid", "bulk")]), wrong
    assert {one["device"] for one in of_it} == {str(device.pk) for device in fleet}
    assert of_none["results"] == []


def test_what_is_forbidden_meanwhile_goes_out_no_further(
    acting: Tenant, fleet: list[Device], operator: User, now: datetime
) -> None:
    requested(operator, now)
    policies.change(allowed_types=["tap"], now=now)

    work(now)

    assert commanded() == set()


def test_what_nobody_confirms_lapses_after_an_hour(
    fleet: list[Device], operator: User, now: datetime
) -> None:
    policies.change(blast_radius=0, now=now)
    row = requested(operator, now)
    hour = timedelta(hours=1)

    assert bulk_commands.lapse(now=now + hour - timedelta(seconds=1)) == 0
    assert bulk_commands.lapse(now=now + hour) == 1
    row.refresh_from_db()
    assert row.state == "lapsed"


def test_it_can_be_stopped_on_its_way(
    fleet: list[Device], operator: User, now: datetime
) -> None:
    row = requested(operator, now)
    with patch.object(bulk_commands, "BATCH", 2):
        bulk_commands.work(now=now)

    bulk_commands.cancel(bulk=row, now=now)
    work(now)

    assert len(commanded()) == 2
    row.refresh_from_db()
    assert (row.state, row.done) == ("cancelled", 2)


def test_whoever_is_killed_on_the_way_leaves_the_rest_to_the_next(
    fleet: list[Device], operator: User, now: datetime
) -> None:
    row = requested(operator, now)
    with patch.object(bulk_commands, "BATCH", 2):
        bulk_commands.work(now=now)
        with (
            patch.object(BulkCommand, "save", side_effect=KeyboardInterrupt),
            pytest.raises(KeyboardInterrupt),
        ):
            bulk_commands.work(now=now)
        assert len(commanded()) == 2
        work(now)

    row.refresh_from_db()
    assert row.done == 5
    assert CommandHistory.every_tenant.count() == 5


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_command_each_device_once(
    fleet: list[Device], operator: User, now: datetime
) -> None:
    requested(operator, now)

    def working(_: int) -> None:
        with tenant_scope(None), every_tenant_scope():
            work(now)
        connection.close()

    with patch.object(bulk_commands, "BATCH", 1), ThreadPoolExecutor(4) as pool:
        list(pool.map(working, range(4)))
    work(now)

    assert CommandHistory.every_tenant.count() == 5


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"type": "reboot"}, ("required", "filter")),
        ({**REBOOT, "filter": {"colour": "red"}}, ("invalid_filter", "filter.colour")),
        ({**REBOOT, "filter": {"status": "lost"}}, ("invalid_filter", "filter.status")),
        (
            {**REBOOT, "filter": {"status": "retired"}},
            ("invalid_filter", "filter.status"),
        ),
        ({**REBOOT, "filter": {"status": ""}}, ("invalid_filter", "filter.status")),
        (
            {"type": "tap", "parameters": {"x": 1, "y": 1}, "filter": {}},
            ("gesture_to_many", "type"),
        ),
        ({**REBOOT, "parameters": {"x": 1}}, ("unknown_field", "parameters.x")),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_field(
    fleet: list[Device],
    member: Callable[..., APIClient],
    said: dict[str, Any],
    found: tuple[str, str],
) -> None:
    assert errors(member().post(BULK, said)) == (400, [found])
    assert not BulkCommand.every_tenant.exists()


def test_to_nobody_it_is_not_sent(
    acting: Tenant, member: Callable[..., APIClient]
) -> None:
    refused = member().post(BULK, {**REBOOT, "filter": {"model": "none"}})

    assert errors(refused) == (409, [("no_devices_found", None)])


def test_a_viewer_looks_on(
    fleet: list[Device], operator: User, now: datetime, member: Callable[..., APIClient]
) -> None:
    row = requested(operator, now)
    viewer = member(Role.VIEWER)

    assert [one["id"] for one in viewer.get(BULK).json()["results"]] == [str(row.pk)]
    for path in (BULK, f"{BULK}/{row.pk}/confirm", f"{BULK}/{row.pk}/cancel"):
        assert viewer.post(path, REBOOT).status_code == 403


def test_a_tags_devices_are_found_as_in_the_list(
    acting: Tenant, fleet: list[Device], operator: User, now: datetime
) -> None:
    tag = TagFactory.create(tenant=acting, name="hall")
    fleet[1].device_tags.create(tenant=acting, tag=tag)

    requested(operator, now, tag="hall")
    work(now)

    assert commanded() == {fleet[1].pk}
