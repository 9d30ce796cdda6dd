"""Tests of sample validation: valid samples, faults, and times of wrong clocks."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from devices.metrics.measures import FIELDS
from devices.metrics.sample_validation import Clock, ValidationResult, validate_samples

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLOCK = Clock(now=NOW, oldest=NOW - timedelta(days=90), limit=timedelta(minutes=10))
HOUR = timedelta(hours=1)


def validate(*samples: Any, sent_at: datetime | None = None) -> ValidationResult:
    return validate_samples(list(samples), sent_at=sent_at, clock=CLOCK)


def faults_of(sample: Any) -> list[tuple[str, str]]:
    result = validate(sample)
    assert result.rows == []
    return [(fault.field, fault.code) for fault in result.faults]


@pytest.mark.parametrize(
    ("sample", "field", "code"),
    [
        ({"cpu_usage": math.nan}, "cpu_usage", "not_finite"),
        ({"temperature": math.inf}, "temperature", "not_finite"),
        ({"temperature": -math.inf}, "temperature", "not_finite"),
        ({"cpu_usage": 100.1}, "cpu_usage", "out_of_bounds"),
        ({"battery_level": -1}, "battery_level", "out_of_bounds"),
        ({"ram_used_mb": -5}, "ram_used_mb", "out_of_bounds"),
        ({"storage_total_mb": 0}, "storage_total_mb", "out_of_bounds"),
        ({"ram_used_mb": 3, "ram_total_mb": 2}, "ram_used_mb", "more_than_total"),
        ({"cpu_usage": "12"}, "cpu_usage", "invalid"),
        ({"cpu_usage": True}, "cpu_usage", "invalid"),
        ({"cpu_usage": 10**400}, "cpu_usage", "out_of_bounds"),
        ({"is_charging": 1}, "is_charging", "invalid"),
        ({"network": "wifi"}, "network", "invalid"),
        ({"network": {"signal_strength": 5}}, "network.signal_strength", "out_of_bounds"),
        ({"network": {"ssid": "x" * 65}}, "network.ssid", "max_length"),
        ({"screen": {"brightness": 256}}, "screen.brightness", "out_of_bounds"),
        ({"running_apps": "one"}, "running_apps", "invalid"),
        ({"running_apps": ["x"] * 201}, "running_apps", "max_length"),
        ({"running_apps": ["a\x00"]}, "running_apps", "invalid"),
        ({"cpu_usage": 1, "odd": "x" * 9000}, "odd", "too_much_extra"),
        ({"cpu_usage": 1, "odd": {f"n{n}": 1 for n in range(300)}}, "odd", "too_much_extra"),
        ({"cpu_usage": 1, "odd": math.nan}, "odd", "not_finite"),
        ({"cpu_usage": 1, "odd": "\x00"}, "odd", "invalid"),
        ({}, "", "empty_sample"),
        ({"recorded_at": NOW.isoformat()}, "", "empty_sample"),
        (17, "", "invalid"),
    ],
    ids=str,
)
def test_an_invalid_sample_is_refused_with_the_name_of_its_field(
    sample: Any, field: str, code: str
) -> None:
    assert (field, code) in faults_of(sample)


@pytest.mark.parametrize(
    "value",
    [
        "1970-01-01T00:00:00Z",
        "2100-01-01T00:00:00Z",
        "2026-03-01T12:00:00",
        "2026-03-01",
        "soon",
        1772366400,
        True,
        "0001-01-01T00:00:00+23:59",
    ],
)
def test_a_malformed_or_implausible_time_is_refused(value: Any) -> None:
    [(field, _)] = faults_of({"cpu_usage": 1, "recorded_at": value})
    assert field == "recorded_at"


def test_every_invalid_field_of_a_sample_is_reported() -> None:
    faults = faults_of({"cpu_usage": 101, "battery_level": -1, "screen": 1})

    assert {field for field, _ in faults} == {"cpu_usage", "battery_level", "screen"}


def test_valid_samples_are_accepted_beside_invalid_ones() -> None:
    result = validate({"cpu_usage": 1}, {"cpu_usage": 101}, {"cpu_usage": 3})

    assert [row["cpu_usage"] for row in result.rows] == [1, 3]
    assert [fault.index for fault in result.faults] == [1]


def test_bounds_are_inclusive() -> None:
    for field in FIELDS:
        if field.kind not in ("number", "integer") or field.column.endswith("_mb"):
            continue
        for bound in (field.minimum, field.maximum):
            sample: Any = bound
            for name in reversed(field.path):
                sample = {name: sample}
            assert validate(sample).rows[0][field.column] == bound


def test_unknown_fields_are_stored_in_extra() -> None:
    [row] = validate({"odd": [1, "ä"], "network": {"type": "wifi", "vlan": 7}}).rows

    assert row["network_type"] == "wifi"
    assert row["extra"] == '{"odd": [1, "\\u00e4"], "network": {"vlan": 7}}'


def test_percentages_are_computed_from_used_and_total() -> None:
    [row] = validate({"ram_used_mb": 512, "ram_total_mb": 2048}).rows

    assert row["ram_usage"] == 25
    assert row["storage_usage"] is None


@pytest.mark.parametrize(("network_type", "is_connected"), [("wifi", 1), ("None", 0)])
def test_a_device_is_connected_unless_its_network_type_is_none(
    network_type: str, is_connected: int
) -> None:
    [row] = validate({"network": {"type": network_type}}).rows

    assert row["is_connected"] == is_connected


def test_a_sample_without_a_time_gets_the_server_time() -> None:
    assert validate({"cpu_usage": 1}).rows[0]["recorded_at"] == NOW


def stored_times(*hours: float, sent: float | None = None) -> list[tuple[float, bool]]:
    """Validate samples with times in hours from now.

    Return the stored times in hours from now, and whether each was corrected.
    """
    samples = [{"cpu_usage": 1, "recorded_at": (NOW + hour * HOUR).isoformat()} for hour in hours]
    sent_at = None if sent is None else NOW + sent * HOUR
    return [
        ((row["recorded_at"] - NOW) / HOUR, row["device_time"] is not None)
        for row in validate(*samples, sent_at=sent_at).rows
    ]


def test_late_samples_keep_their_times() -> None:
    assert stored_times(-80 * 24, -1) == [(-80 * 24, False), (-1, False)]


def test_a_clock_slightly_ahead_is_not_corrected() -> None:
    assert stored_times(0.1) == [(0.1, False)]


def test_samples_from_the_future_are_moved_to_now_with_their_distances() -> None:
    assert stored_times(47, 48) == [(-1, True), (0, True)]


def test_samples_are_moved_to_now_if_all_are_older_than_the_retention() -> None:
    year = 365 * 24
    assert stored_times(-year - 1, -year) == [(-1, True), (0, True)]


def test_sent_at_determines_the_error_of_the_clock() -> None:
    assert stored_times(-5, -3, sent=-3) == [(-2, True), (0, True)]
    assert stored_times(-5, sent=-0.1) == [(-5, False)]


def test_expired_samples_beside_current_ones_are_not_corrected() -> None:
    assert stored_times(-92 * 24, -1) == [(-1, False)]


def test_an_expired_sample_of_a_correct_clock_is_refused() -> None:
    old = {"cpu_usage": 1, "recorded_at": (NOW - 91 * 24 * HOUR).isoformat()}

    [fault] = validate(old, sent_at=NOW).faults

    assert (fault.field, fault.code) == ("recorded_at", "not_kept")
