"""Tests of the decisions about rollouts. Decisions use snapshots and no database."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from devices.updates.models import Status
from devices.updates.services.retry_decision import FailedDevice, retry_status
from devices.updates.services.rollout_decision import (
    INTERVAL,
    INTERVAL_OLD,
    INTERVAL_SEARCH,
    INTERVAL_UNREACHABLE,
    Batch,
    Candidate,
    Devices,
    Finding,
    Progress,
    WaveFigures,
    decide_devices,
    decide_waves,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
IDS = sorted(uuid4() for _ in range(4))


def candidate(device_id: UUID, *, fits: bool = True) -> Candidate:
    return Candidate(device_id, "2.0", uuid4(), "1.0", fits)


def wave(number: int = 1, state: str = "running", **fields: Any) -> WaveFigures:
    return WaveFigures(number=number, state=state, **{"is_open": True, **fields})


def progress(*waves: WaveFigures, **fields: Any) -> Progress:
    usual: dict[str, Any] = {
        "state": "running",
        "opened": 10,
        "counted": 20,
        "success_percent": 90.0,
        "failure_percent": 3.0,
        "failed": 0,
        "tried": 0,
        "is_waiting": True,
        "is_started": True,
    }
    return Progress(waves=waves, **{**usual, **fields})


class TestDevices:
    def test_a_scheduled_rollout_waits_for_its_start(self) -> None:
        later = NOW + timedelta(hours=1)

        decision = decide_devices(Devices(state="scheduled", starts_at=later), now=NOW)

        assert (decision.wait_until, decision.starts) == (later, False)

    @pytest.mark.parametrize("starts_at", [None, NOW, NOW - timedelta(hours=1)])
    def test_a_scheduled_rollout_starts_when_it_is_time(self, starts_at: datetime | None) -> None:
        snapshot = Devices(state="scheduled", starts_at=starts_at)

        assert decide_devices(snapshot, now=NOW).starts

    def test_the_capacity_limits_how_many_devices_get_the_update(self) -> None:
        batch = Batch(wave=1, capacity=2, candidates=[candidate(pk) for pk in IDS])

        opening = decide_devices(Devices(state="running", batch=batch), now=NOW).opening

        assert opening is not None
        assert [device.device_id for device in opening.devices] == IDS[:2]
        assert (opening.position, opening.is_complete) == (IDS[1], False)

    def test_devices_that_the_package_is_not_for_are_passed_over(self) -> None:
        candidates = [candidate(IDS[0], fits=False), candidate(IDS[1])]
        batch = Batch(wave=1, capacity=5, candidates=candidates, is_last=True)

        opening = decide_devices(Devices(state="running", batch=batch), now=NOW).opening

        assert opening is not None
        assert [device.device_id for device in opening.devices] == [IDS[1]]
        assert opening.is_complete

    def test_a_page_without_a_fitting_device_moves_the_position(self) -> None:
        candidates = [candidate(pk, fits=False) for pk in IDS]
        batch = Batch(wave=1, capacity=5, candidates=candidates)

        opening = decide_devices(Devices(state="running", batch=batch), now=NOW).opening

        assert opening is not None
        assert (opening.devices, opening.position) == ([], IDS[-1])
        assert not opening.is_complete

    def test_nothing_is_opened_while_the_rate_is_used_up(self) -> None:
        snapshot = Devices(state="running", batch=Batch(wave=1, capacity=0))

        assert decide_devices(snapshot, now=NOW).opening is None

    def test_a_wave_is_complete_when_all_counted_devices_have_the_update(self) -> None:
        batch = Batch(wave=1, capacity=0, is_last=True)

        opening = decide_devices(Devices(state="running", batch=batch), now=NOW).opening

        assert opening is not None
        assert opening.is_complete

    def test_findings_are_handled_in_one_order(self) -> None:
        findings = frozenset([Finding.OVERDUE, Finding.SUPERSEDED, Finding.ARRIVED])

        decision = decide_devices(Devices(state="paused", findings=findings), now=NOW)

        assert decision.findings == [
            Finding.ARRIVED,
            Finding.SUPERSEDED,
            Finding.PROVEN,  # at once, if there is no soak time
            Finding.OVERDUE,
        ]


class TestDynamicRollouts:
    """They take devices that match later, so they do not finish."""

    def test_late_devices_join_the_last_wave(self) -> None:
        waves = (wave(1, "passed"), wave(2, "passed"))
        snapshot = progress(*waves, is_dynamic=True, has_late_devices=True)

        decision = decide_waves(snapshot, now=NOW)

        assert (decision.moves, decision.finishes) == ([(2, "running")], False)
        assert decision.has_searched

    def test_without_late_devices_the_next_search_is_later(self) -> None:
        snapshot = progress(
            wave(1, "passed"), is_dynamic=True, has_late_devices=False, is_waiting=False
        )

        decision = decide_waves(snapshot, now=NOW)

        assert (decision.moves, decision.finishes) == ([], False)
        assert decision.interval == INTERVAL_SEARCH


class TestWaves:
    def test_a_wave_passes_and_the_next_one_starts(self) -> None:
        done = wave(counts={Status.COMPLETED: 9, Status.FAILED: 1})

        decision = decide_waves(progress(done, wave(2, "waiting")), now=NOW)

        assert decision.moves == [(1, "passed"), (2, "running")]

    def test_the_next_wave_waits_for_its_time(self) -> None:
        following = wave(2, "waiting", starts_at=NOW + timedelta(hours=1))
        done = wave(counts={Status.COMPLETED: 10})

        assert decide_waves(progress(done, following), now=NOW).moves == [(1, "passed")]

    def test_a_rollout_finishes_after_its_last_wave(self) -> None:
        decision = decide_waves(progress(wave(counts={Status.COMPLETED: 10})), now=NOW)

        assert (decision.moves, decision.finishes) == ([(1, "passed")], True)

    def test_a_wave_that_is_still_being_opened_does_not_pass(self) -> None:
        opening = wave(counts={Status.COMPLETED: 10}, is_open=False)

        assert not decide_waves(progress(opening), now=NOW).changes_rollout

    def test_reachable_devices_that_have_not_started_hold_up_the_wave(self) -> None:
        half = wave(counts={Status.COMPLETED: 9, Status.PENDING: 9})

        assert not decide_waves(progress(half), now=NOW).changes_rollout

    def test_unreachable_devices_do_not_hold_up_the_wave(self) -> None:
        counts = {Status.COMPLETED: 9, Status.PENDING: 9, "unreached": 9}

        assert decide_waves(progress(wave(counts=counts)), now=NOW).finishes

    def test_a_wave_in_which_no_device_was_reached_does_not_pass(self) -> None:
        counts = {Status.PENDING: 9, "unreached": 9}

        assert not decide_waves(progress(wave(counts=counts)), now=NOW).changes_rollout

    def test_too_few_successes_hold_the_wave_for_a_person_once(self) -> None:
        counts = {Status.COMPLETED: 4, Status.FAILED: 1}
        waves = (wave(counts=counts), wave(2, "waiting"))
        held_waves = (wave(counts=counts, is_held=True), wave(2, "waiting"))

        assert decide_waves(progress(*waves), now=NOW).held == (
            1,
            "Only 4 of 5 devices succeeded (90 % required). The rollout waits for your decision.",
        )
        assert decide_waves(progress(*held_waves), now=NOW).held is None

    def test_too_few_successes_in_the_last_wave_fail_it(self) -> None:
        counts = {Status.COMPLETED: 4, Status.FAILED: 1}

        decision = decide_waves(progress(wave(counts=counts)), now=NOW)

        assert (decision.moves, decision.finishes) == ([(1, "failed")], True)

    def test_devices_that_left_with_the_version_are_waited_for_one_day(self) -> None:
        counts = {Status.COMPLETED: 4, Status.INSTALLING: 6, "away": 6}
        fresh = wave(counts=counts, opened_at=NOW - timedelta(hours=23))
        old = wave(counts=counts, opened_at=NOW - timedelta(hours=24))

        assert not decide_waves(progress(fresh), now=NOW).changes_rollout
        assert decide_waves(progress(old), now=NOW).moves == [(1, "failed")]

    def test_too_many_failures_pause_the_rollout(self) -> None:
        decision = decide_waves(progress(wave(), wave(2, "waiting"), failed=8, tried=100), now=NOW)

        assert decision.moves == [(1, "failed")]
        assert decision.pause_reason.startswith("8 of 100 devices failed")

    def test_a_finished_rollout_is_paused_by_late_failures(self) -> None:
        late = progress(wave(state="passed"), state="finished", failed=8, tried=100)

        decision = decide_waves(late, now=NOW)

        assert decision.moves == [(1, "failed")]
        assert decision.pause_reason

    @pytest.mark.parametrize(("failed", "tried"), [(1, 1), (1, 5), (3, 100)])
    def test_few_failures_prove_nothing(self, failed: int, tried: int) -> None:
        few = progress(wave(), failed=failed, tried=tried)

        assert not decide_waves(few, now=NOW).pause_reason

    @pytest.mark.parametrize("state", ["paused", "aborted"])
    def test_a_rollout_that_is_not_running_changes_nothing(self, state: str) -> None:
        still = progress(wave(counts={Status.COMPLETED: 10}), state=state, failed=9)

        assert not decide_waves(still, now=NOW).changes_rollout


class TestIntervals:
    @pytest.mark.parametrize(
        ("fields", "interval"),
        [
            ({"state": "running"}, INTERVAL),
            ({"state": "paused"}, INTERVAL),
            ({"state": "finished", "is_waiting": False}, None),
            ({"state": "aborted", "is_waiting": False}, None),
            ({"state": "finished"}, INTERVAL),
            ({"state": "finished", "is_started": False}, INTERVAL_UNREACHABLE),
            ({"state": "aborted", "ended_at": NOW - timedelta(days=2)}, INTERVAL_OLD),
        ],
    )
    def test_the_interval_depends_on_the_expected_changes(
        self, fields: dict[str, Any], interval: timedelta | None
    ) -> None:
        quiet = progress(wave(is_open=False), **fields)

        assert decide_waves(quiet, now=NOW).interval == interval


@pytest.mark.parametrize(
    ("device", "status"),
    [
        (FailedDevice(-1, False, False, False), Status.PENDING),
        (FailedDevice(None, False, False, False), Status.PENDING),
        (FailedDevice(0, False, False, False), Status.INSTALLING),
        (FailedDevice(1, False, False, False), Status.CANCELLED),
        (FailedDevice(1, True, False, False), Status.PENDING),  # to be rolled back
        (FailedDevice(-1, False, True, False), Status.CANCELLED),
        (FailedDevice(-1, False, False, True), Status.CANCELLED),
    ],
)
def test_a_failed_device_tries_again_unless_it_has_moved_on(
    device: FailedDevice, status: Status
) -> None:
    assert retry_status(device) == status
