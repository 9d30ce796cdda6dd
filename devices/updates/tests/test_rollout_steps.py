"""Tests of success, thresholds, waves, retries and rollbacks of running rollouts."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection

from devices.monitoring.models import Alert
from devices.registry.models import Device
from devices.registry.services.retirement import retire
from devices.updates.errors import RolloutStateConflict
from devices.updates.models import Deployment, SoftwareUpdate, UpdateStatus
from devices.updates.services import rollout_control, rollout_tick, rollouts
from devices.updates.services.targets import WaveSize
from devices.updates.tests.rollouts import (
    create_devices,
    create_member,
    create_released_package,
    devices_in,
    install_update,
    later,
    report_failure,
    run_due_steps,
    send_report,
    start_rollout,
    status_counts,
    wave_sizes,
)
from events.models import Event
from tenants.models import Tenant, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def package(acting: Tenant, now: datetime, tmp_path: Path) -> SoftwareUpdate:
    return create_released_package(now, tmp_path / "in")


@pytest.fixture
def admin(acting: Tenant) -> User:
    return create_member(acting)


def wave_states(rollout: Deployment) -> list[tuple[int, str]]:
    return list(rollout.waves.values_list("number", "state"))


def state_of(rollout: Deployment) -> str:
    rollout.refresh_from_db()
    return rollout.state


def test_an_update_succeeds_after_the_soak_time(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    (device,) = create_devices(acting, 1)
    rollout = start_rollout(package, admin, now, soak_minutes=10)
    run_due_steps(now)

    install_update(rollout, device.pk, now)
    run_due_steps(later(now, 1))
    assert status_counts(rollout) == {"installing": 1}
    run_due_steps(later(now, 10))
    assert status_counts(rollout) == {"installing": 1}
    run_due_steps(later(now, 12))

    assert (status_counts(rollout), state_of(rollout)) == ({"completed": 1}, "finished")


def test_a_report_of_installed_is_not_a_success(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    (device,) = create_devices(acting, 1)
    rollout = start_rollout(package, admin, now, deadline_minutes=30)
    run_due_steps(now)

    send_report(rollout, device.pk, "installed", now)
    run_due_steps(later(now, 5))
    assert status_counts(rollout) == {"installing": 1}
    run_due_steps(later(now, 31))

    failed = UpdateStatus.objects.get()
    assert (failed.status, failed.error_code) == ("failed", "not_back")


def test_an_alert_in_the_soak_time_is_a_failure(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    (device,) = create_devices(acting, 1)
    rollout = start_rollout(package, admin, now, soak_minutes=10)
    run_due_steps(now)
    Alert.objects.create(**alert(device, now - timedelta(hours=1)))  # raised before the update
    install_update(rollout, device.pk, now)
    run_due_steps(later(now, 1))

    Alert.objects.create(**alert(device, later(now, 5)))
    run_due_steps(later(now, 6))

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


def test_a_device_that_reverts_to_the_old_version_has_failed(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    (device,) = create_devices(acting, 1)
    rollout = start_rollout(package, admin, now, soak_minutes=10)
    run_due_steps(now)
    install_update(rollout, device.pk, now)
    run_due_steps(later(now, 1))

    Device.objects.update(app_version="1.0.0")
    run_due_steps(later(now, 2))

    assert UpdateStatus.objects.get().error_code == "reverted"


def test_offline_devices_wait_and_do_not_fail(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    online = create_devices(acting, 3)
    create_devices(acting, 2, status="offline")
    rollout = start_rollout(package, admin, now)
    run_due_steps(now)
    for device in online:
        install_update(rollout, device.pk, now)
    run_due_steps(later(now, 1))

    (wave,) = rollout.waves.all()
    assert (state_of(rollout), wave.state) == ("finished", "passed")
    assert wave.counts == {"completed": 3, "pending": 2, "unreached": 2, "away": 0}


def test_a_device_that_was_offline_is_updated_after_the_end(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    (online,) = create_devices(acting, 1)
    (offline,) = create_devices(acting, 1, status="offline")
    rollout = start_rollout(package, admin, now)
    run_due_steps(now)
    install_update(rollout, online.pk, now)
    run_due_steps(later(now, 1))
    assert state_of(rollout) == "finished"

    install_update(rollout, offline.pk, later(now, 60))
    run_due_steps(later(now, 65))

    assert status_counts(rollout) == {"completed": 2}


def test_a_newer_rollout_supersedes_pending_updates(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime, tmp_path: Path
) -> None:
    create_devices(acting, 1, status="offline")
    past = start_rollout(package, admin, now)
    run_due_steps(now)

    newer = start_rollout(create_released_package(now, tmp_path / "in", "3.0"), admin, later(now))
    run_due_steps(later(now))

    assert status_counts(past) == {"cancelled": 1}
    assert status_counts(newer) == {"pending": 1}
    assert UpdateStatus.objects.get(deployment=past).error_code == "superseded"


def test_a_wave_without_reachable_devices_does_not_pass(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 4, status="offline")
    rollout = start_rollout(package, admin, now, waves=wave_sizes(50, 100))

    run_due_steps(now)
    run_due_steps(later(now, 60))

    assert wave_states(rollout) == [(1, "running"), (2, "waiting")]


def test_the_next_wave_starts_at_the_success_threshold(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 20)
    rollout = start_rollout(package, admin, now, waves=wave_sizes(50, 100), success_percent=80)
    run_due_steps(now)
    first = sorted(devices_in(rollout, wave=1))
    for device_id in first[:7]:
        install_update(rollout, device_id, now)
    run_due_steps(later(now, 1))
    assert wave_states(rollout) == [(1, "running"), (2, "waiting")]  # three have not started

    report_failure(rollout, first[7], now)
    for device_id in first[8:]:
        install_update(rollout, device_id, now)
    run_due_steps(later(now, 2))

    assert wave_states(rollout) == [(1, "passed"), (2, "running")]
    assert len(devices_in(rollout)) == 20


def test_a_wave_waits_for_its_start_time(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 2)
    tomorrow = now + timedelta(days=1)
    waves = [WaveSize(percent=50.0), WaveSize(percent=100.0, starts_at=tomorrow)]
    rollout = start_rollout(package, admin, now, waves=waves)
    run_due_steps(now)
    for device_id in devices_in(rollout):
        install_update(rollout, device_id, now)
    run_due_steps(later(now, 1))
    assert wave_states(rollout) == [(1, "passed"), (2, "waiting")]

    run_due_steps(tomorrow)

    assert wave_states(rollout) == [(1, "passed"), (2, "running")]


def test_one_failure_of_two_does_not_pause_a_rollout(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    one, other = create_devices(acting, 2)
    rollout = start_rollout(package, admin, now)
    run_due_steps(now)

    report_failure(rollout, one.pk, now)
    install_update(rollout, other.pk, now)
    run_due_steps(later(now, 1))

    assert (state_of(rollout), status_counts(rollout)) == (
        "finished",
        {"completed": 1, "failed": 1},
    )


def test_early_failures_do_not_pause_a_rollout(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    """Two of two hundred devices fail before any other device can have succeeded."""
    devices = create_devices(acting, 200)
    rollout = start_rollout(package, admin, now, soak_minutes=10)
    run_due_steps(now)
    for device in devices[:2]:
        report_failure(rollout, device.pk, now)
    for device in devices[2:]:
        send_report(rollout, device.pk, "downloading", now, progress=10)

    run_due_steps(later(now, 1))

    assert state_of(rollout) == "running"


def test_a_held_wave_is_published_once(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 10)
    rollout = start_rollout(package, admin, now, waves=wave_sizes(50, 100))
    run_due_steps(now)
    first = sorted(devices_in(rollout))
    report_failure(rollout, first[0], now)
    for device_id in first[1:]:
        install_update(rollout, device_id, now)

    run_due_steps(later(now, 1))
    run_due_steps(later(now, 2))

    assert wave_states(rollout) == [(1, "running"), (2, "waiting")]
    held = Event.every_tenant.filter(name="rollout.held")
    assert [event.data["reason"] for event in held] == [
        "Only 4 of 5 devices succeeded (90 % required). The rollout waits for your decision."
    ]
    rollout_control.start_next_wave(deployment=rollout, now=later(now, 3))
    run_due_steps(later(now, 3))
    assert wave_states(rollout) == [(1, "passed"), (2, "running")]


def test_a_few_devices_that_have_not_started_do_not_hold_the_wave(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 40)
    rollout = start_rollout(package, admin, now, waves=wave_sizes(50, 100), success_percent=90)
    run_due_steps(now)
    first = sorted(devices_in(rollout))
    for device_id in first[:18]:  # two are online and never start
        install_update(rollout, device_id, now)

    run_due_steps(later(now, 1))

    assert wave_states(rollout) == [(1, "passed"), (2, "running")]


def test_failures_after_the_end_can_pause_a_rollout(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    (good,) = create_devices(acting, 1)
    offline = create_devices(acting, 5, status="offline")
    rollout = start_rollout(package, admin, now)
    run_due_steps(now)
    install_update(rollout, good.pk, now)
    run_due_steps(later(now, 1))
    assert state_of(rollout) == "finished"

    for device in offline[:4]:
        report_failure(rollout, device.pk, later(now, 60))
    run_due_steps(later(now, 65))
    assert state_of(rollout) == "paused"

    rollout_control.abort(deployment=rollout, now=later(now, 66))
    run_due_steps(later(now, 66))
    assert status_counts(rollout) == {"completed": 1, "failed": 4, "cancelled": 1}


def test_rolling_back_a_finished_rollout_cancels_pending_updates(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    (good,) = create_devices(acting, 1)
    create_devices(acting, 1, status="offline")
    rollout = start_rollout(package, admin, now)
    run_due_steps(now)
    install_update(rollout, good.pk, now)
    run_due_steps(later(now, 1))

    rollout_control.roll_back(deployment=rollout, by=admin, now=later(now, 2))
    run_due_steps(later(now, 2))

    assert state_of(rollout) == "aborted"
    assert status_counts(rollout) == {"completed": 1, "cancelled": 1}
    with pytest.raises(RolloutStateConflict):
        rollout_control.retry(deployment=rollout, now=later(now, 3))


def test_equal_versions_can_be_written_differently(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    (device,) = create_devices(acting, 1)
    rollout = start_rollout(package, admin, now)
    run_due_steps(now)
    send_report(rollout, device.pk, "installed", now)
    Device.objects.update(app_version="2.0")

    run_due_steps(later(now, 1))

    assert status_counts(rollout) == {"completed": 1}


def test_a_device_that_goes_offline_in_the_soak_time_has_not_failed(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    (device,) = create_devices(acting, 1)
    rollout = start_rollout(package, admin, now, soak_minutes=30, deadline_minutes=30)
    run_due_steps(now)
    install_update(rollout, device.pk, now)
    run_due_steps(later(now, 1))
    Device.objects.update(status="offline")
    run_due_steps(later(now, 600))
    assert status_counts(rollout) == {"installing": 1}

    Device.objects.update(status="online")
    run_due_steps(later(now, 700))

    assert status_counts(rollout) == {"completed": 1}


def test_a_wave_whose_devices_go_offline_in_the_soak_time_does_not_pass(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 10)
    rollout = start_rollout(package, admin, now, waves=wave_sizes(50, 100), soak_minutes=10)
    run_due_steps(now)
    for device_id in devices_in(rollout):
        install_update(rollout, device_id, now)
    run_due_steps(later(now, 1))
    Device.objects.filter(pk__in=devices_in(rollout)).update(status="offline")

    run_due_steps(later(now, 60))
    assert wave_states(rollout) == [(1, "running"), (2, "waiting")]
    run_due_steps(later(now, 60 * 25))

    assert wave_states(rollout) == [(1, "running"), (2, "waiting")]
    assert Event.every_tenant.filter(name="rollout.held").count() == 1


def test_a_rollout_supersedes_the_updates_of_a_paused_rollout(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime, tmp_path: Path
) -> None:
    create_devices(acting, 4, status="offline")
    newer = start_rollout(create_released_package(now, tmp_path / "in", "3.0"), admin, now)
    run_due_steps(now)
    rollout_control.pause(deployment=newer, now=later(now, 1))

    rollout = start_rollout(package, admin, later(now, 2))
    run_due_steps(later(now, 2))

    assert (status_counts(rollout), status_counts(newer)) == ({"pending": 4}, {"cancelled": 4})


def test_a_rollback_can_be_extended_to_late_devices(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    one, other = create_devices(acting, 2)
    rollout = start_rollout(package, admin, now, deadline_minutes=30)
    run_due_steps(now)
    install_update(rollout, one.pk, now)
    send_report(rollout, other.pk, "installing", now)
    run_due_steps(later(now, 1))
    rollback = rollout_control.roll_back(deployment=rollout, by=admin, now=later(now, 2))
    run_due_steps(later(now, 2))
    run_due_steps(later(now, 40))  # the device did not return in time
    Device.objects.filter(pk=other.pk).update(app_version="2.0.0")

    again = rollout_control.roll_back(deployment=rollout, by=admin, now=later(now, 60))
    run_due_steps(later(now, 60))

    assert again.pk == rollback.pk
    assert devices_in(rollback) == {one.pk, other.pk}
    with pytest.raises(RolloutStateConflict):
        rollout_control.roll_back(deployment=rollout, by=admin, now=later(now, 61))


def test_extending_a_paused_rollback_does_not_resume_it(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    one, other = create_devices(acting, 2)
    rollout = start_rollout(package, admin, now)
    run_due_steps(now)
    install_update(rollout, one.pk, now)
    send_report(rollout, other.pk, "installing", now)
    run_due_steps(later(now, 1))
    rollback = rollout_control.roll_back(deployment=rollout, by=admin, now=later(now, 2))
    run_due_steps(later(now, 2))
    rollout_control.pause(deployment=rollback, now=later(now, 3))

    install_update(rollout, other.pk, later(now, 4))
    run_due_steps(later(now, 5))
    assert (state_of(rollback), devices_in(rollback)) == ("paused", {one.pk})

    rollout_control.resume(deployment=rollback, now=later(now, 6))
    run_due_steps(later(now, 6))
    assert devices_in(rollback) == {one.pk, other.pk}


def test_a_rollout_finishes_when_its_only_device_fails(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    (device,) = create_devices(acting, 1)
    rollout = start_rollout(package, admin, now, waves=wave_sizes(5, 25, 100))
    run_due_steps(now)
    report_failure(rollout, device.pk, now)

    for minutes in (1, 2, 3):
        run_due_steps(later(now, minutes))

    assert state_of(rollout) == "finished"


def test_a_retried_device_with_the_version_starts_its_soak_time(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    good, (device,) = create_devices(acting, 9), create_devices(acting, 1)
    rollout = start_rollout(package, admin, now, soak_minutes=10)
    run_due_steps(now)
    for updated in (*good, device):
        install_update(rollout, updated.pk, now)
    run_due_steps(later(now, 1))
    Alert.objects.create(**alert(device, later(now, 2)))
    run_due_steps(later(now, 3))
    assert UpdateStatus.objects.get(device=device).status == "failed"

    rollout_control.retry(deployment=rollout, now=later(now, 20))
    run_due_steps(later(now, 20))
    again = UpdateStatus.objects.get(device=device)
    assert (again.status, again.attempt) == ("installing", 2)
    run_due_steps(later(now, 31))

    assert status_counts(rollout) == {"completed": 10}


def test_a_device_with_a_newer_update_is_not_retried(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime, tmp_path: Path
) -> None:
    (device,) = create_devices(acting, 1)
    rollout = start_rollout(package, admin, now)
    run_due_steps(now)
    report_failure(rollout, device.pk, now)
    run_due_steps(later(now, 1))
    newer = start_rollout(
        create_released_package(now, tmp_path / "in", "3.0"), admin, later(now, 2)
    )
    run_due_steps(later(now, 2))
    install_update(newer, device.pk, later(now, 3))
    run_due_steps(later(now, 4))

    rollout_control.retry(deployment=rollout, now=later(now, 5))
    run_due_steps(later(now, 5))

    assert (status_counts(rollout), status_counts(newer)) == ({"cancelled": 1}, {"completed": 1})


def test_a_wave_of_an_older_rollout_does_not_supersede_a_newer_update(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime, tmp_path: Path
) -> None:
    create_devices(acting, 4, status="offline")
    older = start_rollout(package, admin, now, waves=wave_sizes(25, 100))
    run_due_steps(now)
    newer = start_rollout(
        create_released_package(now, tmp_path / "in", "3.0"), admin, later(now, 1)
    )
    run_due_steps(later(now, 1))

    rollout_control.start_next_wave(deployment=older, now=later(now, 2))
    run_due_steps(later(now, 2))

    assert (status_counts(older), status_counts(newer)) == ({"cancelled": 1}, {"pending": 4})


def test_a_newer_rollout_completes_a_rollback_that_has_arrived(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime, tmp_path: Path
) -> None:
    (device,) = create_devices(acting, 1)
    rollout = start_rollout(package, admin, now)
    run_due_steps(now)
    install_update(rollout, device.pk, now)
    run_due_steps(later(now, 1))
    rollback = rollout_control.roll_back(deployment=rollout, by=admin, now=later(now, 2))
    run_due_steps(later(now, 2))
    Device.objects.update(app_version="1.0.0")

    newer = start_rollout(
        create_released_package(now, tmp_path / "in", "3.0"), admin, later(now, 2)
    )
    Deployment.objects.exclude(pk=newer.pk).update(due_at=later(now, 9))
    run_due_steps(later(now, 2))

    assert (status_counts(rollout), status_counts(rollback)) == (
        {"rolled_back": 1},
        {"completed": 1},
    )
    assert status_counts(newer) == {"pending": 1}
    assert Device.objects.get().next_steps.update_waiting


def test_a_rollback_leaves_out_devices_with_another_version(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime, tmp_path: Path
) -> None:
    one, other = create_devices(acting, 2)
    rollout = start_rollout(package, admin, now)
    run_due_steps(now)
    for device in (one, other):
        install_update(rollout, device.pk, now)
    run_due_steps(later(now, 1))
    Device.objects.filter(pk=one.pk).update(app_version="2.5")

    rollback = rollout_control.roll_back(deployment=rollout, by=admin, now=later(now, 2))
    run_due_steps(later(now, 2))

    assert devices_in(rollback) == {other.pk}


def test_a_failing_step_does_not_delay_other_rollouts(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 2)
    create_devices(acting, 2, model="H96")
    broken = start_rollout(package, admin, now, filter={"model": "X96"})
    other = start_rollout(package, admin, later(now, 1), filter={"model": "H96"})
    Deployment.objects.filter(pk=broken.pk).update(filter={"status": 7})

    with patch.object(rollout_tick, "advance", side_effect=_failing_for(broken)):
        run_due_steps(later(now, 2))

    assert (len(devices_in(broken)), len(devices_in(other))) == (0, 2)
    broken.refresh_from_db()
    assert broken.due_at == later(now, 3)


def _failing_for(broken: Deployment) -> Any:
    advance = rollout_tick.advance

    def advance_or_fail(rollout: Deployment, *, now: datetime) -> None:
        if rollout.pk == broken.pk:
            raise RuntimeError("The step fails.")
        advance(rollout, now=now)

    return advance_or_fail


def test_eight_failures_of_a_hundred_pause_a_rollout(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    devices = create_devices(acting, 100)
    rollout = start_rollout(package, admin, now)
    run_due_steps(now)
    for device in devices[:8]:
        report_failure(rollout, device.pk, now)
    for device in devices[8:]:
        install_update(rollout, device.pk, now)

    run_due_steps(later(now, 1))

    assert (state_of(rollout), wave_states(rollout)) == ("paused", [(1, "failed")])
    assert rollout.paused_because.startswith("8 of 100 devices failed")
    event = Event.every_tenant.filter(name="rollout.state_changed").latest("id")
    assert event.data["state"] == "paused"
    assert event.data["reason"] == rollout.paused_because


def test_failures_before_a_resume_do_not_count_again(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    devices = create_devices(acting, 10)
    rollout = start_rollout(package, admin, now)
    run_due_steps(now)
    for device in devices[:5]:
        report_failure(rollout, device.pk, now)
    run_due_steps(later(now, 1))
    assert state_of(rollout) == "paused"

    rollout_control.resume(deployment=rollout, now=later(now, 2))
    run_due_steps(later(now, 2))
    assert (state_of(rollout), wave_states(rollout)) == ("running", [(1, "running")])

    for device in devices[5:8]:
        report_failure(rollout, device.pk, later(now, 3))
    run_due_steps(later(now, 4))
    assert state_of(rollout) == "paused"


def test_in_a_paused_rollout_only_started_devices_continue(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    devices = create_devices(acting, 4)
    rollout = start_rollout(package, admin, now, waves=wave_sizes(50, 100))
    run_due_steps(now)
    started_id, *_ = devices_in(rollout)
    send_report(rollout, started_id, "downloading", now, progress=10)

    rollout_control.pause(deployment=rollout, now=now)
    install_update(rollout, started_id, later(now, 1))
    run_due_steps(later(now, 2))

    assert status_counts(rollout) == {"completed": 1, "pending": 1}
    assert len(devices) == 4


def test_only_failed_devices_are_retried(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    good, bad = create_devices(acting, 2)
    rollout = start_rollout(package, admin, now, success_percent=50)
    run_due_steps(now)
    install_update(rollout, good.pk, now)
    report_failure(rollout, bad.pk, now)
    run_due_steps(later(now, 1))
    assert state_of(rollout) == "finished"

    rollout_control.retry(deployment=rollout, now=later(now, 2))
    run_due_steps(later(now, 2))
    again = UpdateStatus.objects.get(device=bad)
    assert (again.status, again.attempt, again.error) == ("pending", 2, "")
    assert status_counts(rollout) == {"completed": 1, "pending": 1}
    assert Device.objects.get(pk=bad.pk).next_steps.update_waiting

    install_update(rollout, bad.pk, later(now, 3))
    run_due_steps(later(now, 4))
    assert (state_of(rollout), status_counts(rollout)) == ("finished", {"completed": 2})


def test_a_stalled_download_returns_to_pending(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    (device,) = create_devices(acting, 1)
    rollout = start_rollout(package, admin, now, deadline_minutes=30)
    run_due_steps(now)
    send_report(rollout, device.pk, "downloading", now, progress=40)
    Device.objects.update(status="offline")

    run_due_steps(later(now, 31))

    waiting = UpdateStatus.objects.get()
    assert (waiting.status, waiting.started_at) == ("pending", None)


def test_a_rollback_returns_each_device_to_its_previous_version(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime, tmp_path: Path
) -> None:
    earlier = create_released_package(now, tmp_path / "in", "1.5")
    one, two, three = create_devices(acting, 3)
    Device.objects.filter(pk=two.pk).update(app_version="1.5")
    rollout = start_rollout(package, admin, now)
    run_due_steps(now)
    install_update(rollout, one.pk, now)
    install_update(rollout, two.pk, now)
    report_failure(rollout, three.pk, now)  # this device never installed the update
    run_due_steps(later(now, 1))

    rollback = rollout_control.roll_back(deployment=rollout, by=admin, now=later(now, 2))
    run_due_steps(later(now, 2))
    targets = {
        (update.device_id, update.version, update.package_id)
        for update in UpdateStatus.objects.filter(deployment=rollback)
    }
    assert targets == {(one.pk, "1.0.0", None), (two.pk, "1.5", earlier.pk)}

    install_update(rollback, one.pk, later(now, 3))
    install_update(rollback, two.pk, later(now, 3))
    run_due_steps(later(now, 4))

    assert status_counts(rollout) == {"rolled_back": 2, "failed": 1}
    assert status_counts(rollback) == {"completed": 2}
    assert (state_of(rollout), state_of(rollback)) == ("aborted", "finished")
    names = Event.every_tenant.filter(device_id=one.pk).values_list("name", flat=True)
    assert {"update.completed", "update.rolled_back"} <= set(names)


def test_a_device_that_was_installing_is_added_to_the_rollback(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    one, other = create_devices(acting, 2)
    rollout = start_rollout(package, admin, now, soak_minutes=10)
    run_due_steps(now)
    install_update(rollout, one.pk, now)
    send_report(rollout, other.pk, "installing", now)
    run_due_steps(later(now, 1))

    rollback = rollout_control.roll_back(deployment=rollout, by=admin, now=later(now, 2))
    run_due_steps(later(now, 2))
    assert devices_in(rollback) == {one.pk}  # at once, without waiting for the soak time

    install_update(rollout, other.pk, later(now, 3))
    run_due_steps(later(now, 4))
    assert devices_in(rollback) == {one.pk, other.pk}

    for device in (one, other):
        install_update(rollback, device.pk, later(now, 5))
    run_due_steps(later(now, 6))
    run_due_steps(later(now, 30))
    assert status_counts(rollout) == {"rolled_back": 2}
    assert status_counts(rollback) == {"completed": 2}
    assert state_of(rollback) == "finished"


def test_a_newer_rollout_supersedes_updates_in_their_soak_time(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime, tmp_path: Path
) -> None:
    (device,) = create_devices(acting, 1)
    rollout = start_rollout(package, admin, now, soak_minutes=60)
    run_due_steps(now)
    install_update(rollout, device.pk, now)
    run_due_steps(later(now, 1))

    newer = start_rollout(
        create_released_package(now, tmp_path / "in", "3.0"), admin, later(now, 2)
    )
    run_due_steps(later(now, 2))

    assert (status_counts(rollout), status_counts(newer)) == ({"cancelled": 1}, {"pending": 1})


def test_the_rate_limits_the_devices_per_minute(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 10)
    rollout = start_rollout(package, admin, now, rate=4)

    numbers = []
    for seconds in (0, 30, 60, 100, 125):
        run_due_steps(now + timedelta(seconds=seconds))
        numbers.append(len(devices_in(rollout)))

    assert numbers == [4, 4, 8, 8, 10]


def test_retiring_a_device_cancels_its_update(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    (device,) = create_devices(acting, 1)
    start_rollout(package, admin, now)
    run_due_steps(now)

    retire(device=device, reason="broken", now=now)

    assert UpdateStatus.objects.get().error_code == "retired"


def test_the_number_of_queries_does_not_depend_on_the_fleet_size(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    def queries(size: int) -> int:
        create_devices(acting, size)
        rollout = start_rollout(package, admin, now)
        before = len(connection.queries_log)
        run_due_steps(now)
        assert len(devices_in(rollout)) >= size
        return len(connection.queries_log) - before

    connection.force_debug_cursor = True
    try:
        assert queries(200) <= queries(2) + 24
    finally:
        connection.force_debug_cursor = False


def test_a_device_that_reports_forever_that_it_installs_fails(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    (device,) = create_devices(acting, 1)
    rollout = start_rollout(package, admin, now, deadline_minutes=5)
    run_due_steps(now)
    for seconds in range(0, 330, 28):
        send_report(rollout, device.pk, "installing", now + timedelta(seconds=seconds))

    run_due_steps(now + timedelta(seconds=331))

    failed = UpdateStatus.objects.get()
    assert (failed.status, failed.error_code) == ("failed", "installing_too_long")
    assert failed.error == "The device was still installing the update after 5 minutes."


def test_a_device_that_reports_for_a_day_that_it_downloads_fails(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    (device,) = create_devices(acting, 1)
    rollout = start_rollout(package, admin, now)
    run_due_steps(now)
    for hours in range(24):
        send_report(rollout, device.pk, "downloading", now + timedelta(hours=hours))
        run_due_steps(now + timedelta(hours=hours))
    assert status_counts(rollout) == {"downloading": 1}

    send_report(rollout, device.pk, "downloading", now + timedelta(hours=24))
    run_due_steps(now + timedelta(hours=24, seconds=1))

    assert UpdateStatus.objects.get().error_code == "downloading_too_long"


def install_and_come_back(
    rollout: Deployment,
    device: Device,
    now: datetime,
    version: str = "1.0.0",
    statuses: tuple[str, ...] = ("downloading", "installing", "installed", "installed"),
) -> None:
    """Report an installation, and connect a minute later with a version."""
    for status in statuses:
        send_report(rollout, device.pk, status, now)
    Device.objects.filter(pk=device.pk).update(app_version=version, last_seen=later(now))
    run_due_steps(later(now, 1.5))


@pytest.mark.parametrize(
    "statuses", [("installed",), ("downloading", "installing", "installed", "installed")]
)
def test_a_device_that_installs_three_times_and_keeps_its_version_fails(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime, statuses: tuple[str, ...]
) -> None:
    (device,) = create_devices(acting, 1)
    rollout = start_rollout(package, admin, now)
    run_due_steps(now)
    install_and_come_back(rollout, device, now, statuses=statuses)
    install_and_come_back(rollout, device, later(now, 5), statuses=statuses)
    assert status_counts(rollout) == {"installing": 1}

    install_and_come_back(rollout, device, later(now, 10), statuses=statuses)

    failed = UpdateStatus.objects.get()
    assert (failed.status, failed.error_code) == ("failed", "kept_old_version")
    assert failed.error == "The device installed the update 3 times and still runs 1.0.0."


def test_a_device_that_succeeds_at_its_third_installation_completes(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    (device,) = create_devices(acting, 1)
    rollout = start_rollout(package, admin, now)
    run_due_steps(now)
    for minutes in (0, 5):
        install_and_come_back(rollout, device, later(now, minutes))

    install_and_come_back(rollout, device, later(now, 10), version="2.0.0")

    assert status_counts(rollout) == {"completed": 1}


def test_repeated_and_late_reports_do_not_count_as_installations(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    (device,) = create_devices(acting, 1)
    rollout = start_rollout(package, admin, now)
    run_due_steps(now)
    for status in ("installing", "installed", "downloading", "installing", "installed") * 3:
        send_report(rollout, device.pk, status, now)

    assert UpdateStatus.objects.get().installations == 1


def test_a_version_that_cannot_be_read_is_the_reason_at_once(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    (device,) = create_devices(acting, 1)
    rollout = start_rollout(package, admin, now)
    run_due_steps(now)

    install_and_come_back(rollout, device, now, version="release-two")

    failed = UpdateStatus.objects.get()
    assert (failed.status, failed.error_code) == ("failed", "unreadable_version")
    assert failed.error == (
        "The device reports release-two, which this product's numbering cannot read."
    )


def test_another_attempt_respects_the_rate(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    devices = create_devices(acting, 10)
    rollout = start_rollout(package, admin, now, failure_percent=100, success_percent=0)
    run_due_steps(now)
    rollouts.change(deployment=rollout, rate=4, now=now)
    for device in devices:
        report_failure(rollout, device.pk, now)
    run_due_steps(later(now))

    rollout_control.retry(deployment=rollout, now=later(now, 2))

    numbers = []
    for seconds in (120, 150, 180, 220, 245):
        run_due_steps(now + timedelta(seconds=seconds))
        numbers.append(status_counts(rollout).get("pending", 0))
    assert numbers == [4, 4, 8, 8, 10]
    assert state_of(rollout) == "running"
