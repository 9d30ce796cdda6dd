"""Tests of creating, approving and changing rollouts, and of their devices."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from rest_framework.test import APIClient

from devices.registry.models import Device, DeviceHardware
from devices.registry.tests.factories import SiteFactory, TagFactory
from devices.remote_control.tests.remote_control import errors
from devices.updates.errors import InvalidRollout, NoEligibleDevices, SecondApproverRequired
from devices.updates.models import Deployment, SoftwareUpdate, UpdateStatus
from devices.updates.services import (
    offers,
    policies,
    rollout_control,
    rollouts,
    targets,
    wave_candidates,
)
from devices.updates.services.targets import WaveSize
from devices.updates.tests.packages import build_apk
from devices.updates.tests.rollouts import (
    create_devices,
    create_member,
    create_released_package,
    devices_in,
    install_update,
    later,
    run_due_steps,
    start_rollout,
    status_counts,
    wave_sizes,
)
from events.models import Event
from tenants.models import Role, Tenant, User

pytestmark = pytest.mark.django_db
ROLLOUTS = "/updates/rollouts"
NEEDS_ANDROID_11 = build_apk(minSdkVersion=30)

Member = Callable[..., APIClient]


@pytest.fixture
def package(acting: Tenant, now: datetime, tmp_path: Path) -> SoftwareUpdate:
    return create_released_package(now, tmp_path / "in")


@pytest.fixture
def admin(acting: Tenant) -> User:
    return create_member(acting)


def start_next_wave(rollout: Deployment, now: datetime) -> None:
    """Start the next wave and offer the update to its devices."""
    rollout_control.start_next_wave(deployment=rollout, now=now)
    run_due_steps(now)


def test_a_dry_run_returns_devices_and_waves(
    acting: Tenant, package: SoftwareUpdate, member: Member
) -> None:
    create_devices(acting, 10)
    create_devices(acting, 2, app_version="2.0.0")
    create_devices(acting, 1, app_version="2.1.0")
    create_devices(acting, 3, status="offline")

    response = member().post(
        ROLLOUTS,
        {
            "package": str(package.pk),
            "dry_run": True,
            "waves": [{"count": 2}, {"percent": 50}, {"percent": 100}],
        },
    )

    assert response.status_code == 200
    plan = response.json()
    assert (plan["found"], plan["eligible"], plan["online"]) == (16, 13, 10)
    assert plan["left_out"] == {"up_to_date": 2, "newer": 1}
    assert [wave["devices"] for wave in plan["waves"]] == [2, 5, 6]
    assert [len(wave["first"]) for wave in plan["waves"]] == [2, 5, 6]
    assert not Deployment.objects.exists()


def test_a_dry_run_lists_the_devices_of_the_first_wave(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 20)
    plan = rollouts.preview(
        package=package, values={"waves": wave_sizes(20, 100)}, now=datetime.now(UTC)
    )

    rollout = start_rollout(package, admin, now, waves=wave_sizes(20, 100))
    run_due_steps(now)

    assert devices_in(rollout) == {device.id for device in plan.waves[0].first}
    assert len(devices_in(rollout)) == 4


def test_the_position_of_a_device_is_a_hash_of_both_ids(
    acting: Tenant, package: SoftwareUpdate
) -> None:
    create_devices(acting, 30)

    devices = targets.with_position(package.pk, Device.objects.all())

    assert dict(devices.values_list("pk", "position")) == {
        pk: int(md5(f"{package.pk}{pk}".encode()).hexdigest()[:8], 16)
        for pk in Device.objects.values_list("pk", flat=True)
    }


def test_a_larger_wave_adds_devices_and_moves_none(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 50)
    rollout = start_rollout(package, admin, now, waves=wave_sizes(10, 100))
    run_due_steps(now)
    first = devices_in(rollout)
    for device_id in first:
        install_update(rollout, device_id, now)  # they still count as devices of the rollout

    rollouts.change(deployment=rollout, waves=wave_sizes(20, 100), now=now)
    run_due_steps(now)

    assert (len(first), len(devices_in(rollout, wave=1))) == (5, 10)
    assert first < devices_in(rollout, wave=1)


def test_waves_by_percentage_and_by_count_reach_all_devices(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 30)
    waves = [WaveSize(count=3), WaveSize(percent=50.0), WaveSize(percent=100.0)]
    rollout = start_rollout(package, admin, now, waves=waves)
    run_due_steps(now)
    start_next_wave(rollout, now)
    start_next_wave(rollout, now)

    assert [len(devices_in(rollout, wave=number)) for number in (1, 2, 3)] == [3, 12, 15]
    assert len(devices_in(rollout)) == 30


def test_a_percentage_of_few_devices_is_at_least_one_device(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 4)

    rollout = start_rollout(package, admin, now, waves=wave_sizes(1, 100))
    run_due_steps(now)

    assert len(devices_in(rollout)) == 1


@pytest.mark.parametrize(
    ("filter", "number"),
    [
        ({}, 5),
        ({"model": "H96"}, 2),
        ({"app_version": "1.1"}, 1),
        ({"tag": "lobby"}, 1),
        ({"search": "TV-one"}, 1),
        ({"site": "Shop"}, 1),
        ({"site": "North"}, 1),
    ],
)
def test_a_rollout_reaches_the_devices_that_match_its_filter(
    acting: Tenant,
    package: SoftwareUpdate,
    admin: User,
    now: datetime,
    filter: dict[str, str],
    number: int,
) -> None:
    create_devices(acting, 2)
    create_devices(acting, 2, model="H96")
    shop = SiteFactory.create(
        tenant=acting, name="Shop", parent=SiteFactory.create(tenant=acting, name="North")
    )
    (other,) = create_devices(acting, 1, app_version="1.1", name="TV-one", site=shop)
    tag = TagFactory.create(tenant=acting, name="lobby")
    other.device_tags.create(tenant=acting, tag=tag)

    rollout = start_rollout(package, admin, now, filter=filter)
    run_due_steps(now)

    assert len(devices_in(rollout)) == number


def test_a_rollout_can_have_a_single_device(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    one, _ = create_devices(acting, 2)

    rollout = start_rollout(package, admin, now, filter={"device": str(one.pk)})
    run_due_steps(now)

    assert devices_in(rollout) == {one.pk}


def test_devices_registered_after_the_start_are_left_out(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 2)
    rollout = start_rollout(package, admin, now)
    create_devices(acting, 3, registered_at=now + timedelta(seconds=1))

    run_due_steps(now)

    assert len(devices_in(rollout)) == 2


def test_a_rollout_never_exceeds_the_counted_devices(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 2, model="X96")
    others = create_devices(acting, 3, model="H96")
    rollout = start_rollout(package, admin, now, filter={"model": "X96"})
    Device.objects.filter(pk__in=[device.pk for device in others]).update(model="X96")

    run_due_steps(now)

    assert len(devices_in(rollout)) == 2


def test_a_dynamic_rollout_takes_devices_that_match_later(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    first, tagged = create_devices(acting, 2)
    tag = TagFactory.create(tenant=acting, name="lobby")
    first.device_tags.create(tenant=acting, tag=tag)
    rollout = start_rollout(package, admin, now, filter={"tag": "lobby"}, dynamic=True)
    (new,) = create_devices(acting, 1, registered_at=later(now, 5))
    create_devices(acting, 1, registered_at=later(now, 5))
    run_due_steps(now)
    install_update(rollout, first.pk, now)
    run_due_steps(later(now))

    for device in (tagged, new):
        device.device_tags.create(tenant=acting, tag=tag)
    run_due_steps(later(now, 12))
    run_due_steps(later(now, 13))

    rollout.refresh_from_db()
    assert devices_in(rollout) == {first.pk, tagged.pk, new.pk}
    assert (rollout.state, rollout.counted) == ("running", 3)
    rollouts.change(deployment=rollout, dynamic=False, now=later(now, 14))
    for device in (tagged, new):
        install_update(rollout, device.pk, later(now, 14))
    run_due_steps(later(now, 15))
    rollout.refresh_from_db()
    assert rollout.state == "finished"


def test_a_dynamic_rollout_without_an_approval_grows_to_the_approval_threshold(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    policies.change(approval_above=3, now=now)
    create_devices(acting, 2)
    rollout = start_rollout(package, admin, now, dynamic=True)
    run_due_steps(now)
    for pk in devices_in(rollout):
        install_update(rollout, pk, now)
    run_due_steps(later(now))

    create_devices(acting, 5)
    run_due_steps(later(now, 12))
    run_due_steps(later(now, 13))

    assert len(devices_in(rollout)) == 3


def test_late_devices_of_a_dynamic_rollout_are_reached_in_a_small_last_wave(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 12)
    waves = wave_sizes(40, 100)
    with patch.object(wave_candidates, "BATCH", 10):
        rollout = start_rollout(package, admin, now, dynamic=True, waves=waves)
        for minutes in (0, 1):
            run_due_steps(later(now, minutes))
            for pk in devices_in(rollout):
                install_update(rollout, pk, later(now, minutes))
        create_devices(acting, 12)
        for minutes in (15, 16, 17):
            run_due_steps(later(now, minutes))

    assert len(devices_in(rollout)) == 24


def test_late_devices_that_another_rollout_serves_do_not_open_the_wave_again(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime, tmp_path: Path
) -> None:
    (device,) = create_devices(acting, 1)
    rollout = start_rollout(package, admin, now, dynamic=True)
    run_due_steps(now)
    install_update(rollout, device.pk, now)
    run_due_steps(later(now))
    create_devices(acting, 1, status="offline")
    newer = create_released_package(now, tmp_path / "in", "3.0")
    start_rollout(newer, admin, now)
    run_due_steps(later(now, 2))
    opened = Event.every_tenant.named("rollout.wave").filter(data__rollout=str(rollout.pk))
    before = opened.count()

    for minutes in (15, 30, 45):
        run_due_steps(later(now, minutes))

    assert opened.count() == before


def test_an_approved_number_of_devices_does_not_grow(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    policies.change(approval_above=1, now=now)
    create_devices(acting, 2)
    rollout = start_rollout(package, admin, now)
    rollout_control.approve(deployment=rollout, by=create_member(acting), now=now)

    with pytest.raises(InvalidRollout, match="approved"):
        rollouts.change(deployment=rollout, dynamic=True, now=now)


def test_quarantined_and_retired_devices_are_left_out(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 1)
    create_devices(acting, 1, quarantined_at=now)
    create_devices(acting, 1, status="retired", retired_at=now)

    rollout = start_rollout(package, admin, now)
    run_due_steps(now)

    assert (rollout.counted, len(devices_in(rollout))) == (1, 1)


@pytest.mark.parametrize(
    ("requirements", "device", "left_out"),
    [
        ({"target_models": ["H96"]}, {}, {"model": 1}),
        ({"minimum_version": "1.5"}, {}, {"minimum_version": 1}),
        ({"minimum_version": "1.5"}, {"app_version": ""}, {"minimum_version": 1}),
        ({}, {"app_version": "2.0"}, {"up_to_date": 1}),
        ({}, {"app_version": "2.1"}, {"newer": 1}),
        ({"content": NEEDS_ANDROID_11}, {"os_version": "Android 9"}, {"android_version": 1}),
    ],
)
def test_a_rollout_without_devices_is_rejected_with_the_reason(
    acting: Tenant,
    admin: User,
    now: datetime,
    tmp_path: Path,
    requirements: dict[str, Any],
    device: dict[str, Any],
    left_out: dict[str, int],
) -> None:
    create_devices(acting, 1, **device)
    package = create_released_package(now, tmp_path / "in", **requirements)

    with pytest.raises(NoEligibleDevices) as error:
        rollouts.create(package=package, values={}, by=admin, now=now)

    assert error.value.current == {"left_out": left_out}
    assert not Deployment.objects.exists()


def test_devices_that_cannot_install_an_android_package_are_left_out(
    acting: Tenant, admin: User, now: datetime, tmp_path: Path
) -> None:
    """The rows of what devices report: Android version, and ABIs."""
    reported: list[tuple[str, list[str] | None]] = [
        ("11", ["arm64-v8a", "armeabi-v7a"]),
        ("11", None),
        ("", []),
        ("Android 9", ["arm64-v8a"]),
        ("12", ["x86"]),
    ]
    fleet = [create_devices(acting, 1, os_version=version)[0] for version, _ in reported]
    for device, (_, abis) in zip(fleet, reported, strict=True):
        DeviceHardware.objects.filter(device=device).delete()
        if abis is not None:
            DeviceHardware.objects.create(device=device, abis=abis)
    content = build_apk(minSdkVersion=30, abis=["arm64-v8a"])
    package = create_released_package(now, tmp_path / "in", content=content)

    plan = rollouts.preview(package=package, values={}, now=now)
    rollout = start_rollout(package, admin, now)
    run_due_steps(now)

    assert (plan.eligible, plan.left_out) == (3, {"android_version": 1, "abi": 1})
    assert devices_in(rollout) == {device.pk for device in fleet[:3]}


def test_an_update_that_a_device_cannot_install_any_more_is_not_offered(
    acting: Tenant, admin: User, now: datetime, tmp_path: Path
) -> None:
    (device,) = create_devices(acting, 1, os_version="11")
    content = build_apk(minSdkVersion=30)
    rollout = start_rollout(
        create_released_package(now, tmp_path / "in", content=content), admin, now
    )
    run_due_steps(now)
    Device.objects.update(os_version="9")

    assert offers.current_offer(Device.objects.get(), now=now) is None

    update = UpdateStatus.objects.get(deployment=rollout, device=device)
    assert (update.status, update.error_code) == ("cancelled", "android_version")
    assert update.error == "The package needs a newer Android than the device has."


def test_a_device_without_a_known_version_is_eligible(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 1, app_version="")
    create_devices(acting, 1, app_version="nightly")

    rollout = start_rollout(package, admin, now)

    assert rollout.counted == 2


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"waves": [{"percent": 10}, {"percent": 10}]}, "waves.1.percent"),
        ({"waves": [{"percent": 0}]}, "waves.0.percent"),
        ({"waves": [{"percent": 10, "count": 3}]}, "waves.0"),
        ({"waves": [{}]}, "waves.0"),
        ({"success_percent": 98, "failure_percent": 5}, "success_percent"),
        ({"windows": [{"days": ["someday"], "from": "1", "until": "2"}]}, None),
        (
            {
                "starts_at": "2026-03-02T00:00:00Z",
                "waves": [{"percent": 100, "starts_at": "2026-03-01T00:00:00Z"}],
            },
            "waves.0.starts_at",
        ),
    ],
)
def test_contradicting_settings_are_rejected(
    acting: Tenant,
    package: SoftwareUpdate,
    member: Member,
    settings: dict[str, Any],
    field: str | None,
) -> None:
    create_devices(acting, 1)

    response = member().post(ROLLOUTS, {"package": str(package.pk), **settings})

    assert response.status_code == 400
    if field is not None:
        assert errors(response)[1] == [("invalid_rollout", field)]
    assert not Deployment.objects.exists()


def test_an_unknown_filter_is_rejected(
    acting: Tenant, package: SoftwareUpdate, member: Member
) -> None:
    body = {"package": str(package.pk), "filter": {"colour": "red"}}

    assert errors(member().post(ROLLOUTS, body)) == (400, [("invalid_filter", "filter.colour")])


@pytest.mark.parametrize(
    ("filter", "error"),
    [
        ({"tag": ""}, ("invalid_filter", "filter.tag")),
        ({"model": "\u00a0"}, ("invalid_filter", "filter.model")),
        ({}, ("empty_filter", "filter")),
    ],
)
def test_a_blank_filter_selects_nothing(
    package: SoftwareUpdate, member: Callable[..., APIClient], filter: Any, error: Any
) -> None:
    body = {"package": str(package.pk), "filter": filter}

    assert errors(member().post(ROLLOUTS, body)) == (400, [error])


def test_a_draft_package_cannot_be_rolled_out(
    acting: Tenant, package: SoftwareUpdate, member: Member
) -> None:
    create_devices(acting, 1)
    SoftwareUpdate.objects.update(state="draft")

    response = member().post(ROLLOUTS, {"package": str(package.pk)})

    assert errors(response) == (409, [("package_not_released", "package")])


def test_a_large_rollout_waits_for_the_approval_of_a_second_member(
    acting: Tenant, package: SoftwareUpdate, member: Member, now: datetime
) -> None:
    create_devices(acting, 3)
    policies.change(approval_above=2, now=now)
    first, second = member(), member()
    body = {"package": str(package.pk), "waves": [{"percent": 100}]}
    rollout = first.post(ROLLOUTS, body).json()["id"]

    requested = first.post(f"{ROLLOUTS}/{rollout}/start")
    by_token = second.post(f"{ROLLOUTS}/{rollout}/approve")
    run_due_steps(now)
    assert (requested.json()["state"], UpdateStatus.objects.count()) == ("waiting", 0)
    assert errors(by_token) == (403, [("interactive_session_required", None)])
    row = Deployment.objects.get(pk=rollout)
    assert row.requested_by is not None
    with pytest.raises(SecondApproverRequired):
        rollout_control.approve(deployment=row, by=row.requested_by, now=now)

    approved = rollout_control.approve(deployment=row, by=create_member(acting), now=now)
    assert approved.state == "running"


def test_a_changed_rollout_needs_a_new_approval(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 3)
    policies.change(approval_above=2, now=now)
    rollout = start_rollout(package, admin, now)

    changed = rollouts.change(deployment=rollout, rate=5, now=now)

    assert (changed.state, changed.requested_by) == ("draft", None)


def test_a_scheduled_rollout_starts_at_its_time(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 1)
    at = now + timedelta(hours=2)
    rollout = start_rollout(package, admin, now, starts_at=at)
    run_due_steps(now)
    assert (rollout.state, devices_in(rollout)) == ("scheduled", set())

    run_due_steps(at)

    rollout.refresh_from_db()
    assert (rollout.state, len(devices_in(rollout))) == ("running", 1)


def test_a_started_rollout_keeps_its_filter_and_its_waves_only_grow(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime, member: Member
) -> None:
    create_devices(acting, 10)
    rollout = start_rollout(package, admin, now, waves=wave_sizes(50, 100))
    run_due_steps(now)
    path = f"{ROLLOUTS}/{rollout.pk}"

    smaller = member().patch(path, {"waves": [{"percent": 10}, {"percent": 100}]})
    other = member().patch(path, {"filter": {"model": "X96"}})
    slower = member().patch(path, {"rate": 5, "name": "Slowly"})

    assert errors(smaller) == (400, [("invalid_rollout", "waves")])
    assert errors(other) == (400, [("invalid_rollout", "filter")])
    assert (slower.json()["rate"], slower.json()["name"]) == (5, "Slowly")


def test_a_later_change_never_exceeds_the_counted_devices(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    """A change must not add devices that a second member has not approved."""
    create_devices(acting, 4, model="X96")
    others = create_devices(acting, 20, model="H96")
    rollout = start_rollout(package, admin, now, filter={"model": "X96"}, waves=wave_sizes(50))
    run_due_steps(now)
    Device.objects.filter(pk__in=[device.pk for device in others]).update(model="X96")

    rollouts.change(deployment=rollout, waves=wave_sizes(100), now=now)
    run_due_steps(now)

    assert len(devices_in(rollout)) == 4


def test_waves_can_grow_when_updated_devices_no_longer_match_the_filter(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 20)
    filter = {"app_version": "1.0.0"}
    rollout = start_rollout(package, admin, now, filter=filter, waves=wave_sizes(20, 100))
    run_due_steps(now)
    for device_id in devices_in(rollout):
        install_update(rollout, device_id, now)

    rollouts.change(deployment=rollout, waves=wave_sizes(40, 100), now=now)
    run_due_steps(now)
    assert len(devices_in(rollout, wave=1)) == 8

    soon = now + timedelta(minutes=1)
    for update in UpdateStatus.objects.filter(status="pending"):
        install_update(rollout, update.device_id, soon)
    run_due_steps(soon)
    assert len(devices_in(rollout)) == 20


def test_a_rollout_continues_after_a_passed_wave_has_grown(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 20)
    rollout = start_rollout(package, admin, now, waves=wave_sizes(10, 100), rate=4)
    run_due_steps(now)
    for device_id in devices_in(rollout):
        install_update(rollout, device_id, now)
    run_due_steps(now + timedelta(seconds=20))
    assert list(rollout.waves.values_list("state", flat=True)) == ["passed", "running"]

    rollouts.change(deployment=rollout, waves=wave_sizes(20, 100), rate=None, now=now)
    for minutes in (2, 3, 4):
        moment = now + timedelta(minutes=minutes)
        for update in UpdateStatus.objects.filter(status="pending"):
            install_update(rollout, update.device_id, moment)
        run_due_steps(moment)

    rollout.refresh_from_db()
    assert (rollout.state, status_counts(rollout)) == ("finished", {"completed": 20})


def test_only_a_draft_can_be_deleted(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime, member: Member
) -> None:
    create_devices(acting, 1)
    draft = rollouts.create(package=package, values={}, by=admin, now=now)
    running = start_rollout(package, admin, now)

    assert member().delete(f"{ROLLOUTS}/{draft.pk}").status_code == 204
    assert errors(member().delete(f"{ROLLOUTS}/{running.pk}")) == (409, [("rollout_state", None)])


@pytest.mark.parametrize("action", ["resume", "retry", "next-wave", "rollback"])
def test_an_action_that_the_state_does_not_allow_is_rejected(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime, member: Member, action: str
) -> None:
    create_devices(acting, 1)
    rollout = rollouts.create(package=package, values={}, by=admin, now=now)

    response = member().post(f"{ROLLOUTS}/{rollout.pk}/{action}")

    assert errors(response) == (409, [("rollout_state", None)])
    assert response.json()["current"] == {"state": "draft"}


def test_aborting_a_rollout_cancels_pending_updates(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime
) -> None:
    create_devices(acting, 4)
    rollout = start_rollout(package, admin, now)
    run_due_steps(now)

    aborted = rollout_control.abort(deployment=rollout, reason="A mistake.", now=now)
    run_due_steps(now)

    assert aborted.state == "aborted"
    assert status_counts(rollout) == {"cancelled": 4}
    assert not Device.objects.filter(next_steps__update_waiting=True).exists()


def test_viewers_can_read_but_not_change_rollouts(
    acting: Tenant, package: SoftwareUpdate, admin: User, now: datetime, member: Member
) -> None:
    create_devices(acting, 1)
    rollout = start_rollout(package, admin, now)
    viewer = member(Role.VIEWER)

    assert viewer.get(f"{ROLLOUTS}/{rollout.pk}").status_code == 200
    assert viewer.post(f"{ROLLOUTS}/{rollout.pk}/pause", {}).status_code == 403
