"""Tests of the metrics that simulated devices report."""

from datetime import UTC, datetime, timedelta
from random import Random
from statistics import mean
from typing import Any

import pytest

from devices.metrics.sample_validation import Clock, validate_samples
from devices.simulation.device_data import (
    HEALTHY,
    HOT,
    LEAKING,
    WEAK_SIGNAL,
    DeviceProfile,
    random_profile,
    sample,
)

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
NIGHT = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)


def profile_with(condition: str = HEALTHY) -> DeviceProfile:
    """Return a device profile that meets the condition. Try seeds until a profile does."""
    for seed in range(10_000):
        profile = random_profile(Random(seed))
        if profile.condition == condition:
            return profile
    raise AssertionError(f"No seed gives the condition {condition}.")


def values_over(profile: DeviceProfile, start: datetime, hours: float, field: str) -> list[Any]:
    random = Random(1)
    return [
        sample(profile, start + timedelta(minutes=5 * number), random)[field]
        for number in range(int(hours * 12))
    ]


@pytest.mark.parametrize("seed", range(20))
def test_every_sample_is_valid(seed: int) -> None:
    random = Random(seed)
    profile = random_profile(random)
    samples = [sample(profile, NOON - n * timedelta(minutes=5), random) for n in range(300)]
    clock = Clock(now=NOON, oldest=NOON - timedelta(days=90), limit=timedelta(minutes=10))
    result = validate_samples(samples, sent_at=None, clock=clock)
    assert result.faults == []


def test_the_same_seed_gives_the_same_samples() -> None:
    first, second = (
        [sample(random_profile(Random(7)), NOON, random) for _ in range(3)]
        for random in (Random(8), Random(8))
    )
    assert first == second


def test_at_night_the_screen_is_off_and_the_cpu_is_idle() -> None:
    day, night = (values_over(profile_with(), at, 1, "cpu_usage") for at in (NOON, NIGHT))
    assert mean(night) < mean(day) / 2
    assert {screen["is_on"] for screen in values_over(profile_with(), NIGHT, 1, "screen")} == {
        False
    }


def test_a_hot_device_has_a_high_cpu_usage_by_day() -> None:
    assert mean(values_over(profile_with(HOT), NOON, 2, "cpu_usage")) > 80


def test_the_memory_usage_of_a_leaking_device_grows_by_day() -> None:
    leaking = profile_with(LEAKING)
    morning = values_over(leaking, NIGHT + timedelta(hours=3), 1, "ram_used_mb")
    evening = values_over(leaking, NOON + timedelta(hours=10), 1, "ram_used_mb")
    assert mean(evening) > mean(morning) + 0.2 * leaking.ram_total_mb


def test_a_device_with_weak_signal_reports_it() -> None:
    networks = values_over(profile_with(WEAK_SIGNAL), NOON, 1, "network")
    assert mean(network["signal_strength"] for network in networks) < -70


def test_most_devices_are_healthy() -> None:
    conditions = [random_profile(Random(seed)).condition for seed in range(1_000)]
    assert 0.9 < conditions.count(HEALTHY) / len(conditions) < 0.98
