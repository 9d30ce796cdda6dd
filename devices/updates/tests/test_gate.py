"""What counts as success, what opens the next wave, and what stops a rollout."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection

from devices.monitoring.models import Alert
from devices.registry.models import Device
from devices.registry.services.registration import retire
from devices.updates.errors import RolloutStateConflict
from devices.updates.models import Deployment, SoftwareUpdate, UpdateStatus
from devices.updates.services import rollout_control, rollout_tick
from devices.updates.services.targets import Size
from devices.updates.tests.rollouts import (
    fails,
    fleet,
    given,
    later,
    person,
    released,
    says,
    sizes,
    started,
    statuses,
    tick,
    updates,
)
from events.models import Event
from tenants.models import Tenant, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def package(acting: Tenant, now: datetime, tmp_path: Path) -> SoftwareUpdate:
    return released(now, tmp_path / "in")


@pytest.fixture
def by(acting: Tenant) -> User:
    return person(acting)


def running(row: Deployment) -> list[tuple[int, str]]:
    return list(row.waves.values_list("number", "state"))


def state(row: Deployment) -> str:
    row.refresh_from_db()
    return row.state


def test_a_device_has_succeeded_when_it_is_back_and_well_for_the_soak_time(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    (device,) = fleet(acting, 1)
    row = started(package, by, now, soak_minutes=10)
    tick(now)

    updates(row, device.pk, now)
    tick(later(now, 1))
    assert statuses(row) == {"installing": 1}
    tick(later(now, 10))
    assert statuses(row) == {"installing": 1}
    tick(later(now, 12))

    assert (statuses(row), state(row)) == ({"completed": 1}, "finished")


def test_that_it_says_so_is_not_enough(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    (device,) = fleet(acting, 1)
    row = started(package, by, now, deadline_minutes=30)
    tick(now)

    says(row, device.pk, "installed", now)
    tick(later(now, 5))
    assert statuses(row) == {"installing": 1}
    tick(later(now, 31))

    failed = UpdateStatus.objects.get()
    assert (failed.status, failed.error_code) == ("failed", "not_back")


def test_a_device_that_raises_an_alert_after_it_has_failed(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    (device,) = fleet(acting, 1)
    row = started(package, by, now, soak_minutes=10)
    tick(now)
    Alert.objects.create(
        **alert(device, now - timedelta(hours=1))
    )  # it had that before
    updates(row, device.pk, now)
    tick(later(now, 1))

    Alert.objects.create(**alert(device, later(now, 5)))
    tick(later(now, 6))

    failed = UpdateStatus.objects.get()
    assert (failed.status, failed.error_code) == ("failed", "alert")
    assert failed.error == "The device raised an alert: CPU over 90 %"


def alert(device: Device, at: datetime) -> dict[str, Any]:
    return {
        "kind": "metric",
        "device": device,
        "severity": "high",
        "title": "CPU over 90 %",
        "since": at,
        "opened_at": at,
    }


def test_a_device_that_goes_back_by_itself_has_failed(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    (device,) = fleet(acting, 1)
    row = started(package, by, now, soak_minutes=10)
    tick(now)
    updates(row, device.pk, now)
    tick(later(now, 1))

    Device.objects.update(app_version="1.0.0")
    tick(later(now, 2))

    assert UpdateStatus.objects.get().error_code == "reverted"


def test_devices_that_are_offline_wait_and_have_not_failed(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    online = fleet(acting, 3)
    fleet(acting, 2, status="offline")
    row = started(package, by, now)
    tick(now)
    for device in online:
        updates(row, device.pk, now)
    tick(later(now, 1))

    (wave,) = row.waves.all()
    assert (state(row), wave.state) == ("finished", "passed")
    assert wave.counts == {
        **{"completed": 3, "pending": 2},
        **{"unreached": 2, "away": 0},
    }


def test_who_comes_back_after_the_end_still_gets_it(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    (online,) = fleet(acting, 1)
    (away,) = fleet(acting, 1, status="offline")
    row = started(package, by, now)
    tick(now)
    updates(row, online.pk, now)
    tick(later(now, 1))
    assert state(row) == "finished"

    updates(row, away.pk, later(now, 60))
    tick(later(now, 65))

    assert statuses(row) == {"completed": 2}


def test_who_comes_back_gets_what_is_current_and_not_what_is_past(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime, tmp_path: Path
) -> None:
    fleet(acting, 1, status="offline")
    past = started(package, by, now)
    tick(now)

    newer = started(released(now, tmp_path / "in", "3.0"), by, later(now))
    tick(later(now))

    assert statuses(past) == {"cancelled": 1}
    assert statuses(newer) == {"pending": 1}
    assert UpdateStatus.objects.get(deployment=past).error_code == "superseded"


def test_a_wave_in_which_nobody_could_be_reached_has_shown_nothing(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    fleet(acting, 4, status="offline")
    row = started(package, by, now, waves=sizes(50, 100))

    tick(now)
    tick(later(now, 60))

    assert running(row) == [(1, "running"), (2, "waiting")]


def test_the_next_wave_opens_when_enough_of_those_that_tried_succeeded(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    fleet(acting, 20)
    row = started(package, by, now, waves=sizes(50, 100), success_percent=80)
    tick(now)
    first = sorted(given(row, wave=1))
    for device_id in first[:7]:
        updates(row, device_id, now)
    tick(later(now, 1))
    assert running(row) == [(1, "running"), (2, "waiting")]  # three have not begun

    fails(row, first[7], now)
    for device_id in first[8:]:
        updates(row, device_id, now)
    tick(later(now, 2))

    assert running(row) == [(1, "passed"), (2, "running")]
    assert len(given(row)) == 20


def test_a_wave_waits_for_its_time_even_when_the_one_before_has_passed(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    fleet(acting, 2)
    tomorrow = now + timedelta(days=1)
    waves = [
        Size(percent=50.0),
        Size(percent=100.0, starts_at=tomorrow),
    ]
    row = started(package, by, now, waves=waves)
    tick(now)
    for device_id in given(row):
        updates(row, device_id, now)
    tick(later(now, 1))
    assert running(row) == [(1, "passed"), (2, "waiting")]

    tick(tomorrow)

    assert running(row) == [(1, "passed"), (2, "running")]


def test_one_failure_of_two_does_not_stop_it(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    one, other = fleet(acting, 2)
    row = started(package, by, now)
    tick(now)

    fails(row, one.pk, now)
    updates(row, other.pk, now)
    tick(later(now, 1))

    assert (state(row), statuses(row)) == ("finished", {"completed": 1, "failed": 1})


def test_bad_news_that_travels_faster_than_good_stops_nothing(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    """Two of two hundred have failed before any other can have succeeded."""
    devices = fleet(acting, 200)
    row = started(package, by, now, soak_minutes=10)
    tick(now)
    for device in devices[:2]:
        fails(row, device.pk, now)
    for device in devices[2:]:
        says(row, device.pk, "downloading", now, progress=10)

    tick(later(now, 1))

    assert state(row) == "running"


def test_a_wave_that_gets_on_with_a_person_only_says_so_once(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    fleet(acting, 10)
    row = started(package, by, now, waves=sizes(50, 100))
    tick(now)
    first = sorted(given(row))
    fails(row, first[0], now)
    for device_id in first[1:]:
        updates(row, device_id, now)

    tick(later(now, 1))
    tick(later(now, 2))

    assert running(row) == [(1, "running"), (2, "waiting")]
    held = Event.every_tenant.filter(name="rollout.held")
    assert [event.data["reason"] for event in held] == [
        "Only 4 of 5 devices succeeded (90 % required). The rollout waits for your"
        " decision."
    ]
    rollout_control.start_next_wave(deployment=row, now=later(now, 3))
    tick(later(now, 3))
    assert running(row) == [(1, "passed"), (2, "running")]


def test_a_few_that_could_be_reached_hold_nobody_up(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    fleet(acting, 40)
    row = started(package, by, now, waves=sizes(50, 100), success_percent=90)
    tick(now)
    first = sorted(given(row))
    for device_id in first[:18]:  # two are online, and never ask
        updates(row, device_id, now)

    tick(later(now, 1))

    assert running(row) == [(1, "passed"), (2, "running")]


def test_who_still_comes_after_the_end_may_pause_it_again(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    (good,) = fleet(acting, 1)
    away = fleet(acting, 5, status="offline")
    row = started(package, by, now)
    tick(now)
    updates(row, good.pk, now)
    tick(later(now, 1))
    assert state(row) == "finished"

    for device in away[:4]:
        fails(row, device.pk, later(now, 60))
    tick(later(now, 65))
    assert state(row) == "paused"

    rollout_control.abort(deployment=row, now=later(now, 66))
    tick(later(now, 66))
    assert statuses(row) == {"completed": 1, "failed": 4, "cancelled": 1}


def test_a_finished_rollout_that_is_taken_back_reaches_nobody_any_more(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    (good,) = fleet(acting, 1)
    fleet(acting, 1, status="offline")
    row = started(package, by, now)
    tick(now)
    updates(row, good.pk, now)
    tick(later(now, 1))

    rollout_control.roll_back(deployment=row, by=by, now=later(now, 2))
    tick(later(now, 2))

    assert state(row) == "aborted"
    assert statuses(row) == {"completed": 1, "cancelled": 1}
    with pytest.raises(RolloutStateConflict):
        rollout_control.retry(deployment=row, now=later(now, 3))


def test_a_version_that_is_written_otherwise_is_the_same(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    (device,) = fleet(acting, 1)
    row = started(package, by, now)
    tick(now)
    says(row, device.pk, "installed", now)
    Device.objects.update(app_version="2.0")

    tick(later(now, 1))

    assert statuses(row) == {"completed": 1}


def test_who_came_back_and_is_switched_off_for_the_night_has_not_failed(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    (device,) = fleet(acting, 1)
    row = started(package, by, now, soak_minutes=30, deadline_minutes=30)
    tick(now)
    updates(row, device.pk, now)
    tick(later(now, 1))
    Device.objects.update(status="offline")
    tick(later(now, 600))
    assert statuses(row) == {"installing": 1}

    Device.objects.update(status="online")
    tick(later(now, 700))

    assert statuses(row) == {"completed": 1}


def test_a_wave_whose_devices_die_while_they_prove_themselves_opens_nothing(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    fleet(acting, 10)
    row = started(package, by, now, waves=sizes(50, 100), soak_minutes=10)
    tick(now)
    for device_id in given(row):
        updates(row, device_id, now)
    tick(later(now, 1))
    Device.objects.filter(pk__in=given(row)).update(status="offline")

    tick(later(now, 60))
    assert running(row) == [(1, "running"), (2, "waiting")]
    tick(later(now, 60 * 25))

    assert running(row) == [(1, "running"), (2, "waiting")]
    assert Event.every_tenant.filter(name="rollout.held").count() == 1


def test_what_a_paused_rollout_holds_another_one_may_give(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime, tmp_path: Path
) -> None:
    fleet(acting, 4, status="offline")
    newer = started(released(now, tmp_path / "in", "3.0"), by, now)
    tick(now)
    rollout_control.pause(deployment=newer, now=later(now, 1))

    row = started(package, by, later(now, 2))
    tick(later(now, 2))

    assert (statuses(row), statuses(newer)) == ({"pending": 4}, {"cancelled": 4})


def test_who_comes_up_with_it_later_can_still_be_led_back(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    one, other = fleet(acting, 2)
    row = started(package, by, now, deadline_minutes=30)
    tick(now)
    updates(row, one.pk, now)
    says(row, other.pk, "installing", now)
    tick(later(now, 1))
    back = rollout_control.roll_back(deployment=row, by=by, now=later(now, 2))
    tick(later(now, 2))
    tick(later(now, 40))  # it did not come back in time
    Device.objects.filter(pk=other.pk).update(app_version="2.0.0")

    again = rollout_control.roll_back(deployment=row, by=by, now=later(now, 60))
    tick(later(now, 60))

    assert again.pk == back.pk
    assert given(back) == {one.pk, other.pk}
    with pytest.raises(RolloutStateConflict):
        rollout_control.roll_back(deployment=row, by=by, now=later(now, 61))


def test_a_way_back_that_is_paused_stays_so_whoever_else_has_to_go_back(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    one, other = fleet(acting, 2)
    row = started(package, by, now)
    tick(now)
    updates(row, one.pk, now)
    says(row, other.pk, "installing", now)
    tick(later(now, 1))
    back = rollout_control.roll_back(deployment=row, by=by, now=later(now, 2))
    tick(later(now, 2))
    rollout_control.pause(deployment=back, now=later(now, 3))

    updates(row, other.pk, later(now, 4))
    tick(later(now, 5))
    assert (state(back), given(back)) == ("paused", {one.pk})

    rollout_control.resume(deployment=back, now=later(now, 6))
    tick(later(now, 6))
    assert given(back) == {one.pk, other.pk}


def test_a_rollout_of_one_device_that_fails_is_over(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    (device,) = fleet(acting, 1)
    row = started(package, by, now, waves=sizes(5, 25, 100))
    tick(now)
    fails(row, device.pk, now)

    for minutes in (1, 2, 3):
        tick(later(now, minutes))

    assert state(row) == "finished"


def test_who_has_the_version_when_it_tries_again_has_still_to_prove_it(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    good, (device,) = fleet(acting, 9), fleet(acting, 1)
    row = started(package, by, now, soak_minutes=10)
    tick(now)
    for each in (*good, device):
        updates(row, each.pk, now)
    tick(later(now, 1))
    Alert.objects.create(**alert(device, later(now, 2)))
    tick(later(now, 3))
    assert UpdateStatus.objects.get(device=device).status == "failed"

    rollout_control.retry(deployment=row, now=later(now, 20))
    tick(later(now, 20))
    again = UpdateStatus.objects.get(device=device)
    assert (again.status, again.attempt) == ("installing", 2)
    tick(later(now, 31))

    assert statuses(row) == {"completed": 10}


def test_whom_something_newer_was_given_does_not_try_again(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime, tmp_path: Path
) -> None:
    (device,) = fleet(acting, 1)
    row = started(package, by, now)
    tick(now)
    fails(row, device.pk, now)
    tick(later(now, 1))
    newer = started(released(now, tmp_path / "in", "3.0"), by, later(now, 2))
    tick(later(now, 2))
    updates(newer, device.pk, later(now, 3))
    tick(later(now, 4))

    rollout_control.retry(deployment=row, now=later(now, 5))
    tick(later(now, 5))

    assert (statuses(row), statuses(newer)) == ({"cancelled": 1}, {"completed": 1})


def test_an_older_rollouts_later_wave_takes_nothing_newer_away(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime, tmp_path: Path
) -> None:
    fleet(acting, 4, status="offline")
    older = started(package, by, now, waves=sizes(25, 100))
    tick(now)
    newer = started(released(now, tmp_path / "in", "3.0"), by, later(now, 1))
    tick(later(now, 1))

    rollout_control.start_next_wave(deployment=older, now=later(now, 2))
    tick(later(now, 2))

    assert (statuses(older), statuses(newer)) == ({"cancelled": 1}, {"pending": 4})


def test_who_is_back_and_not_noted_yet_is_when_something_newer_comes(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime, tmp_path: Path
) -> None:
    (device,) = fleet(acting, 1)
    row = started(package, by, now)
    tick(now)
    updates(row, device.pk, now)
    tick(later(now, 1))
    back = rollout_control.roll_back(deployment=row, by=by, now=later(now, 2))
    tick(later(now, 2))
    Device.objects.update(app_version="1.0.0")

    newer = started(released(now, tmp_path / "in", "3.0"), by, later(now, 2))
    Deployment.objects.exclude(pk=newer.pk).update(due_at=later(now, 9))
    tick(later(now, 2))

    assert (statuses(row), statuses(back)) == ({"rolled_back": 1}, {"completed": 1})
    assert statuses(newer) == {"pending": 1}
    assert Device.objects.get().next_steps.update_waiting


def test_a_rollback_leaves_alone_who_has_moved_on(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime, tmp_path: Path
) -> None:
    one, other = fleet(acting, 2)
    row = started(package, by, now)
    tick(now)
    for device in (one, other):
        updates(row, device.pk, now)
    tick(later(now, 1))
    Device.objects.filter(pk=one.pk).update(app_version="2.5")

    back = rollout_control.roll_back(deployment=row, by=by, now=later(now, 2))
    tick(later(now, 2))

    assert given(back) == {other.pk}


def test_a_step_that_fails_keeps_no_other_rollout_waiting(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    fleet(acting, 2)
    fleet(acting, 2, model="H96")
    broken = started(package, by, now, filter={"model": "X96"})
    other = started(package, by, later(now, 1), filter={"model": "H96"})
    Deployment.objects.filter(pk=broken.pk).update(filter={"status": 7})

    with patch.object(rollout_tick, "advance", side_effect=_failing_for(broken)):
        tick(later(now, 2))

    assert (len(given(broken)), len(given(other))) == (0, 2)
    broken.refresh_from_db()
    assert broken.due_at == later(now, 3)


def _failing_for(broken: Deployment) -> Any:
    advance = rollout_tick.advance

    def advance_or_fail(row: Deployment, *, now: datetime) -> None:
        if row.pk == broken.pk:
            raise RuntimeError("It is broken.")
        advance(row, now=now)

    return advance_or_fail


def test_eight_failures_of_a_hundred_do(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    devices = fleet(acting, 100)
    row = started(package, by, now)
    tick(now)
    for device in devices[:8]:
        fails(row, device.pk, now)
    for device in devices[8:]:
        updates(row, device.pk, now)

    tick(later(now, 1))

    assert (state(row), running(row)) == ("paused", [(1, "failed")])
    assert row.paused_because.startswith("8 of 100 devices failed")
    told = Event.every_tenant.filter(name="rollout.state_changed").latest("id")
    assert told.data["state"] == "paused"
    assert told.data["reason"] == row.paused_because


def test_after_a_pause_what_had_failed_does_not_count_again(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    devices = fleet(acting, 10)
    row = started(package, by, now)
    tick(now)
    for device in devices[:5]:
        fails(row, device.pk, now)
    tick(later(now, 1))
    assert state(row) == "paused"

    rollout_control.resume(deployment=row, now=later(now, 2))
    tick(later(now, 2))
    assert (state(row), running(row)) == ("running", [(1, "running")])

    for device in devices[5:8]:
        fails(row, device.pk, later(now, 3))
    tick(later(now, 4))
    assert state(row) == "paused"


def test_while_it_is_paused_nobody_begins_and_who_has_begun_goes_on(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    devices = fleet(acting, 4)
    row = started(package, by, now, waves=sizes(50, 100))
    tick(now)
    begun, *_ = given(row)
    says(row, begun, "downloading", now, progress=10)

    rollout_control.pause(deployment=row, now=now)
    updates(row, begun, later(now, 1))
    tick(later(now, 2))

    assert statuses(row) == {"completed": 1, "pending": 1}
    assert len(devices) == 4


def test_only_the_failed_try_again(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    good, bad = fleet(acting, 2)
    row = started(package, by, now, success_percent=50)
    tick(now)
    updates(row, good.pk, now)
    fails(row, bad.pk, now)
    tick(later(now, 1))
    assert state(row) == "finished"

    rollout_control.retry(deployment=row, now=later(now, 2))
    tick(later(now, 2))
    again = UpdateStatus.objects.get(device=bad)
    assert (again.status, again.attempt, again.error) == ("pending", 2, "")
    assert statuses(row) == {"completed": 1, "pending": 1}
    assert Device.objects.get(pk=bad.pk).next_steps.update_waiting

    updates(row, bad.pk, later(now, 3))
    tick(later(now, 4))
    assert (state(row), statuses(row)) == ("finished", {"completed": 2})


def test_who_falls_silent_over_a_download_has_not_been_reached(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    (device,) = fleet(acting, 1)
    row = started(package, by, now, deadline_minutes=30)
    tick(now)
    says(row, device.pk, "downloading", now, progress=40)
    Device.objects.update(status="offline")

    tick(later(now, 31))

    waiting = UpdateStatus.objects.get()
    assert (waiting.status, waiting.started_at) == ("pending", None)


def test_a_rollback_leads_each_device_to_the_version_it_had(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime, tmp_path: Path
) -> None:
    earlier = released(now, tmp_path / "in", "1.5")
    one, two, three = fleet(acting, 3)
    Device.objects.filter(pk=two.pk).update(app_version="1.5")
    row = started(package, by, now)
    tick(now)
    updates(row, one.pk, now)
    updates(row, two.pk, now)
    fails(row, three.pk, now)  # it never took it
    tick(later(now, 1))

    back = rollout_control.roll_back(deployment=row, by=by, now=later(now, 2))
    tick(later(now, 2))
    ways = {
        (each.device_id, each.version, each.package_id)
        for each in UpdateStatus.objects.filter(deployment=back)
    }
    assert ways == {(one.pk, "1.0.0", None), (two.pk, "1.5", earlier.pk)}

    updates(back, one.pk, later(now, 3))
    updates(back, two.pk, later(now, 3))
    tick(later(now, 4))

    assert statuses(row) == {"rolled_back": 2, "failed": 1}
    assert statuses(back) == {"completed": 2}
    assert (state(row), state(back)) == ("aborted", "finished")
    names = Event.every_tenant.filter(device_id=one.pk).values_list("name", flat=True)
    assert {"update.completed", "update.rolled_back"} <= set(names)


def test_who_was_installing_when_it_was_rolled_back_goes_back_as_well(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    one, other = fleet(acting, 2)
    row = started(package, by, now, soak_minutes=10)
    tick(now)
    updates(row, one.pk, now)
    says(row, other.pk, "installing", now)
    tick(later(now, 1))

    back = rollout_control.roll_back(deployment=row, by=by, now=later(now, 2))
    tick(later(now, 2))
    assert given(back) == {one.pk}  # at once: it need not prove itself first

    updates(row, other.pk, later(now, 3))
    tick(later(now, 4))
    assert given(back) == {one.pk, other.pk}

    for device in (one, other):
        updates(back, device.pk, later(now, 5))
    tick(later(now, 6))
    tick(later(now, 30))
    assert statuses(row) == {"rolled_back": 2}
    assert statuses(back) == {"completed": 2}
    assert state(back) == "finished"


def test_what_still_had_to_prove_itself_makes_way_for_something_newer(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime, tmp_path: Path
) -> None:
    (device,) = fleet(acting, 1)
    row = started(package, by, now, soak_minutes=60)
    tick(now)
    updates(row, device.pk, now)
    tick(later(now, 1))

    newer = started(released(now, tmp_path / "in", "3.0"), by, later(now, 2))
    tick(later(now, 2))

    assert (statuses(row), statuses(newer)) == ({"cancelled": 1}, {"pending": 1})


def test_a_rate_lets_so_many_begin_each_minute(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    fleet(acting, 10)
    row = started(package, by, now, rate=4)

    numbers = []
    for seconds in (0, 30, 60, 100, 125):
        tick(now + timedelta(seconds=seconds))
        numbers.append(len(given(row)))

    assert numbers == [4, 4, 8, 8, 10]


def test_a_device_that_is_retired_is_updated_no_more(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    (device,) = fleet(acting, 1)
    started(package, by, now)
    tick(now)

    retire(device=device, reason="broken", now=now)

    assert UpdateStatus.objects.get().error_code == "retired"


def test_a_tick_is_a_bounded_number_of_queries_whatever_the_size(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    def queries(size: int) -> int:
        fleet(acting, size)
        row = started(package, by, now)
        before = len(connection.queries_log)
        tick(now)
        assert len(given(row)) >= size
        return len(connection.queries_log) - before

    connection.force_debug_cursor = True
    try:
        assert queries(200) <= queries(2) + 24
    finally:
        connection.force_debug_cursor = False
