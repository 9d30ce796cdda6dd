"""What simulated boxes report: such as real ones would, and the same for the same seed."""

from datetime import UTC, datetime, timedelta
from random import Random
from statistics import mean
from typing import Any

import pytest

from devices.metrics.sample_validation import Clock, judge
from devices.simulation.plausible import (
    FAR_AWAY,
    HEALTHY,
    HOT,
    LEAKING,
    Temper,
    sample,
    temper,
)

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
NIGHT = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)


def box(ailment: str = HEALTHY) -> Temper:
    """A box with this ailment; seeds are tried until there is one."""
    for seed in range(10_000):
        found = temper(Random(seed))
        if found.ailment == ailment:
            return found
    raise AssertionError(f"nobody is {ailment}")


def over(temper: Temper, begin: datetime, hours: float, field: str) -> list[Any]:
    random = Random(1)
    return [
        sample(temper, begin + timedelta(minutes=5 * number), random)[field]
        for number in range(int(hours * 12))
    ]


@pytest.mark.parametrize("seed", range(20))
def test_every_sample_is_one_that_the_server_takes(seed: int) -> None:
    random = Random(seed)
    of_box = temper(random)
    samples = [
        sample(of_box, NOON - n * timedelta(minutes=5), random) for n in range(300)
    ]
    clock = Clock(
        now=NOON, oldest=NOON - timedelta(days=90), limit=timedelta(minutes=10)
    )
    judged = judge(samples, sent_at=None, clock=clock)
    assert judged.faults == []


def test_the_same_seed_reports_the_same() -> None:
    one, other = (
        [sample(temper(Random(7)), NOON, random) for _ in range(3)]
        for random in (Random(8), Random(8))
    )
    assert one == other


def test_at_night_the_screen_is_off_and_the_processor_idles() -> None:
    day, night = (over(box(), at, 1, "cpu_usage") for at in (NOON, NIGHT))
    assert mean(night) < mean(day) / 2
    assert {screen["is_on"] for screen in over(box(), NIGHT, 1, "screen")} == {False}


def test_a_hot_box_gives_reason_for_an_alert_by_day() -> None:
    assert mean(over(box(HOT), NOON, 2, "cpu_usage")) > 80


def test_a_leaking_box_fills_its_memory_until_the_night() -> None:
    leaking = box(LEAKING)
    morning = over(leaking, NIGHT + timedelta(hours=3), 1, "ram_used_mb")
    evening = over(leaking, NOON + timedelta(hours=10), 1, "ram_used_mb")
    assert mean(evening) > mean(morning) + 0.2 * leaking.ram_total_mb


def test_a_box_far_away_has_a_weak_signal() -> None:
    networks = over(box(FAR_AWAY), NOON, 1, "network")
    assert mean(network["signal_strength"] for network in networks) < -70


def test_most_boxes_are_healthy() -> None:
    ailments = [temper(Random(seed)).ailment for seed in range(1_000)]
    assert 0.9 < ailments.count(HEALTHY) / len(ailments) < 0.98
