"""Rollouts: for whom, in which steps, by whom; and what is no rollout."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from devices.registry.models import Device
from devices.registry.tests.factories import TagFactory
from devices.remote_control.tests.remote_control import errors
from devices.updates.errors import RolloutOfNothing
from devices.updates.models import Deployment, SoftwareUpdate, UpdateStatus
from devices.updates.services import policies, rollout_control, rollouts, targets
from devices.updates.services.targets import Size
from devices.updates.tests.rollouts import (
    fleet,
    given,
    person,
    released,
    sizes,
    started,
    statuses,
    tick,
    updates,
)
from tenants.models import Role, Tenant, User

pytestmark = pytest.mark.django_db
ROLLOUTS = "/updates/rollouts"

Member = Callable[..., APIClient]


@pytest.fixture
def package(acting: Tenant, now: datetime, tmp_path: Path) -> SoftwareUpdate:
    return released(now, tmp_path / "in")


@pytest.fixture
def by(acting: Tenant) -> User:
    return person(acting)


def opened(row: Deployment, now: datetime) -> None:
    """The next wave, whatever is known of the one before."""
    rollout_control.start_next_wave(deployment=row, now=now)
    tick(now)


def test_a_dry_run_says_which_devices_and_which_waves(
    acting: Tenant, package: SoftwareUpdate, member: Member
) -> None:
    fleet(acting, 10)
    fleet(acting, 2, app_version="2.0.0")
    fleet(acting, 1, app_version="2.1.0")
    fleet(acting, 3, status="offline")

    told = member().post(
        ROLLOUTS,
        {
            "package": str(package.pk),
            "dry_run": True,
            "waves": [{"count": 2}, {"percent": 50}, {"percent": 100}],
        },
    )

    assert told.status_code == 200
    plan = told.json()
    assert (plan["found"], plan["eligible"], plan["online"]) == (16, 13, 10)
    assert plan["left_out"] == {"up_to_date": 2, "newer": 1}
    assert [wave["devices"] for wave in plan["waves"]] == [2, 5, 6]
    assert [len(wave["first"]) for wave in plan["waves"]] == [2, 5, 6]
    assert not Deployment.objects.exists()


def test_the_dry_run_names_the_devices_that_the_rollout_takes(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    fleet(acting, 20)
    plan = rollouts.preview(
        package=package, said={"waves": sizes(20, 100)}, now=datetime.now(UTC)
    )

    row = started(package, by, now, waves=sizes(20, 100))
    tick(now)

    assert given(row) == {each.id for each in plan.waves[0].first}
    assert len(given(row)) == 4


def test_the_place_of_a_device_is_a_hash_that_stays(
    acting: Tenant, package: SoftwareUpdate
) -> None:
    fleet(acting, 30)

    places = targets.with_position(package.pk, Device.objects.all())

    assert dict(places.values_list("pk", "place")) == {
        pk: int(md5(f"{package.pk}{pk}".encode()).hexdigest()[:8], 16)
        for pk in Device.objects.values_list("pk", flat=True)
    }


def test_a_larger_share_adds_devices_and_moves_none(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    fleet(acting, 50)
    row = started(package, by, now, waves=sizes(10, 100))
    tick(now)
    first = given(row)
    for device_id in first:
        updates(row, device_id, now)  # they count, whatever version they have by now

    rollouts.change(deployment=row, waves=sizes(20, 100), now=now)
    tick(now)

    assert (len(first), len(given(row, wave=1))) == (5, 10)
    assert first < given(row, wave=1)


def test_waves_by_percentage_and_by_count_add_up_to_everybody(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    fleet(acting, 30)
    waves = [Size(count=3), Size(percent=50.0), Size(percent=100.0)]
    row = started(package, by, now, waves=waves)
    tick(now)
    opened(row, now)
    opened(row, now)

    assert [len(given(row, wave=number)) for number in (1, 2, 3)] == [3, 12, 15]
    assert len(given(row)) == 30


def test_a_share_of_few_devices_is_one_at_least(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    fleet(acting, 4)

    row = started(package, by, now, waves=sizes(1, 100))
    tick(now)

    assert len(given(row)) == 1


@pytest.mark.parametrize(
    ("filter", "number"),
    [
        ({}, 5),
        ({"model": "H96"}, 2),
        ({"app_version": "1.1"}, 1),
        ({"tag": "lobby"}, 1),
        ({"search": "TV-one"}, 1),
    ],
)
def test_it_is_for_the_devices_that_its_filter_finds(
    acting: Tenant,
    package: SoftwareUpdate,
    by: User,
    now: datetime,
    filter: dict[str, str],
    number: int,
) -> None:
    fleet(acting, 2)
    fleet(acting, 2, model="H96")
    (other,) = fleet(acting, 1, app_version="1.1", name="TV-one")
    tag = TagFactory.create(tenant=acting, name="lobby")
    other.device_tags.create(tenant=acting, tag=tag)

    row = started(package, by, now, filter=filter)
    tick(now)

    assert len(given(row)) == number


def test_it_may_be_for_one_device(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    one, _ = fleet(acting, 2)

    row = started(package, by, now, filter={"device": str(one.pk)})
    tick(now)

    assert given(row) == {one.pk}


def test_who_registers_later_is_not_among_them(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    fleet(acting, 2)
    row = started(package, by, now)
    fleet(acting, 3, registered_at=now + timedelta(seconds=1))

    tick(now)

    assert len(given(row)) == 2


def test_never_more_devices_have_it_than_were_counted(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    fleet(acting, 2, model="X96")
    others = fleet(acting, 3, model="H96")
    row = started(package, by, now, filter={"model": "X96"})
    Device.objects.filter(pk__in=[each.pk for each in others]).update(model="X96")

    tick(now)

    assert len(given(row)) == 2


def test_devices_in_quarantine_and_retired_ones_are_left_alone(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    fleet(acting, 1)
    fleet(acting, 1, quarantined_at=now)
    fleet(acting, 1, status="retired", retired_at=now)

    row = started(package, by, now)
    tick(now)

    assert (row.counted, len(given(row))) == (1, 1)


@pytest.mark.parametrize(
    ("terms", "device", "left_out"),
    [
        ({"target_models": ["H96"]}, {}, {"model": 1}),
        ({"minimum_version": "1.5"}, {}, {"minimum_version": 1}),
        ({"minimum_version": "1.5"}, {"app_version": ""}, {"minimum_version": 1}),
        ({}, {"app_version": "2.0"}, {"up_to_date": 1}),
        ({}, {"app_version": "2.1"}, {"newer": 1}),
    ],
)
def test_a_rollout_of_nothing_is_refused_with_the_reason(
    acting: Tenant,
    by: User,
    now: datetime,
    tmp_path: Path,
    terms: dict[str, Any],
    device: dict[str, Any],
    left_out: dict[str, int],
) -> None:
    fleet(acting, 1, **device)
    package = released(now, tmp_path / "in", **terms)

    with pytest.raises(RolloutOfNothing) as refusal:
        rollouts.create(package=package, said={}, by=by, now=now)

    assert refusal.value.current == {"left_out": left_out}
    assert not Deployment.objects.exists()


def test_a_device_of_which_no_version_is_known_gets_it(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    fleet(acting, 1, app_version="")
    fleet(acting, 1, app_version="nightly")

    row = started(package, by, now)

    assert row.counted == 2


@pytest.mark.parametrize(
    ("said", "field"),
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
def test_terms_that_contradict_each_other_are_refused(
    acting: Tenant,
    package: SoftwareUpdate,
    member: Member,
    said: dict[str, Any],
    field: str | None,
) -> None:
    fleet(acting, 1)

    answer = member().post(ROLLOUTS, {"package": str(package.pk), **said})

    assert answer.status_code == 400
    if field is not None:
        assert errors(answer)[1] == [("invalid_rollout", field)]
    assert not Deployment.objects.exists()


def test_an_unknown_filter_is_refused(
    acting: Tenant, package: SoftwareUpdate, member: Member
) -> None:
    body = {"package": str(package.pk), "filter": {"colour": "red"}}

    assert errors(member().post(ROLLOUTS, body)) == (
        400,
        [("invalid_filter", "filter.colour")],
    )


def test_a_draft_of_a_package_is_not_rolled_out(
    acting: Tenant, package: SoftwareUpdate, member: Member
) -> None:
    fleet(acting, 1)
    SoftwareUpdate.objects.update(state="draft")

    answer = member().post(ROLLOUTS, {"package": str(package.pk)})

    assert errors(answer) == (409, [("package_not_released", "package")])


def test_a_large_rollout_waits_for_a_second_person(
    acting: Tenant, package: SoftwareUpdate, member: Member, now: datetime
) -> None:
    fleet(acting, 3)
    policies.change(approval_above=2, now=now)
    first, second = member(), member()
    body = {"package": str(package.pk), "waves": [{"percent": 100}]}
    rollout = first.post(ROLLOUTS, body).json()["id"]

    asked = first.post(f"{ROLLOUTS}/{rollout}/start")
    own = first.post(f"{ROLLOUTS}/{rollout}/approve")
    tick(now)
    assert (asked.json()["state"], UpdateStatus.objects.count()) == ("waiting", 0)
    assert errors(own) == (403, [("second_person_needed", None)])

    approved = second.post(f"{ROLLOUTS}/{rollout}/approve")
    assert approved.json()["state"] == "running"


def test_who_changes_what_waits_for_approval_has_to_ask_again(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    fleet(acting, 3)
    policies.change(approval_above=2, now=now)
    row = started(package, by, now)

    changed = rollouts.change(deployment=row, rate=5, now=now)

    assert (changed.state, changed.requested_by) == ("draft", None)


def test_it_starts_at_its_time(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    fleet(acting, 1)
    at = now + timedelta(hours=2)
    row = started(package, by, now, starts_at=at)
    tick(now)
    assert (row.state, given(row)) == ("scheduled", set())

    tick(at)

    row.refresh_from_db()
    assert (row.state, len(given(row))) == ("running", 1)


def test_what_has_begun_keeps_its_filter_and_its_waves_only_grow(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime, member: Member
) -> None:
    fleet(acting, 10)
    row = started(package, by, now, waves=sizes(50, 100))
    tick(now)
    path = f"{ROLLOUTS}/{row.pk}"

    smaller = member().patch(path, {"waves": [{"percent": 10}, {"percent": 100}]})
    other = member().patch(path, {"filter": {"model": "X96"}})
    slower = member().patch(path, {"rate": 5, "name": "Slowly"})

    assert errors(smaller) == (400, [("invalid_rollout", "waves")])
    assert errors(other) == (400, [("invalid_rollout", "filter")])
    assert (slower.json()["rate"], slower.json()["name"]) == (5, "Slowly")


def test_no_more_devices_than_were_counted_whatever_is_changed_later(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    """Else the second person could be gone round."""
    fleet(acting, 4, model="X96")
    others = fleet(acting, 20, model="H96")
    row = started(package, by, now, filter={"model": "X96"}, waves=sizes(50))
    tick(now)
    Device.objects.filter(pk__in=[each.pk for each in others]).update(model="X96")

    rollouts.change(deployment=row, waves=sizes(100), now=now)
    tick(now)

    assert len(given(row)) == 4


def test_waves_may_grow_though_those_that_have_it_match_no_more(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    fleet(acting, 20)
    filter = {"app_version": "1.0.0"}
    row = started(package, by, now, filter=filter, waves=sizes(20, 100))
    tick(now)
    for device_id in given(row):
        updates(row, device_id, now)

    rollouts.change(deployment=row, waves=sizes(40, 100), now=now)
    tick(now)
    assert len(given(row, wave=1)) == 8

    soon = now + timedelta(minutes=1)
    for one in UpdateStatus.objects.filter(status="pending"):
        updates(row, one.device_id, soon)
    tick(soon)
    assert len(given(row)) == 20


def test_a_passed_wave_that_grows_does_not_end_the_rollout(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    fleet(acting, 20)
    row = started(package, by, now, waves=sizes(10, 100), rate=4)
    tick(now)
    for device_id in given(row):
        updates(row, device_id, now)
    tick(now + timedelta(seconds=20))
    assert list(row.waves.values_list("state", flat=True)) == ["passed", "running"]

    rollouts.change(deployment=row, waves=sizes(20, 100), rate=None, now=now)
    for minutes in (2, 3, 4):
        moment = now + timedelta(minutes=minutes)
        for one in UpdateStatus.objects.filter(status="pending"):
            updates(row, one.device_id, moment)
        tick(moment)

    row.refresh_from_db()
    assert (row.state, statuses(row)) == ("finished", {"completed": 20})


def test_only_a_draft_is_dropped(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime, member: Member
) -> None:
    fleet(acting, 1)
    draft = rollouts.create(package=package, said={}, by=by, now=now)
    running = started(package, by, now)

    assert member().delete(f"{ROLLOUTS}/{draft.pk}").status_code == 204
    assert errors(member().delete(f"{ROLLOUTS}/{running.pk}")) == (
        409,
        [("rollout_state", None)],
    )


@pytest.mark.parametrize(
    "verb", ["approve", "resume", "retry", "next-wave", "rollback"]
)
def test_what_its_state_does_not_allow_is_refused(
    acting: Tenant,
    package: SoftwareUpdate,
    by: User,
    now: datetime,
    member: Member,
    verb: str,
) -> None:
    fleet(acting, 1)
    row = rollouts.create(package=package, said={}, by=by, now=now)

    answer = member().post(f"{ROLLOUTS}/{row.pk}/{verb}")

    assert errors(answer) == (409, [("rollout_state", None)])
    assert answer.json()["current"] == {"state": "draft"}


def test_an_aborted_rollout_lets_go_of_who_has_not_begun_to_install(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime
) -> None:
    fleet(acting, 4)
    row = started(package, by, now)
    tick(now)

    aborted = rollout_control.abort(deployment=row, reason="A mistake.", now=now)
    tick(now)

    assert aborted.state == "aborted"
    assert statuses(row) == {"cancelled": 4}
    assert not Device.objects.filter(next_steps__update_waiting=True).exists()


def test_viewers_look_on(
    acting: Tenant, package: SoftwareUpdate, by: User, now: datetime, member: Member
) -> None:
    fleet(acting, 1)
    row = started(package, by, now)
    viewer = member(Role.VIEWER)

    assert viewer.get(f"{ROLLOUTS}/{row.pk}").status_code == 200
    assert viewer.post(f"{ROLLOUTS}/{row.pk}/pause", {}).status_code == 403
