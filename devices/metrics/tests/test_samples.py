"""Tests of sample validation: valid samples, faults, and times of wrong clocks."""

import json
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
    """Return the faults of a sample with one value that is usable in any case."""
    result = validate({"signal": 1, **sample})
    assert len(result.rows) == 1
    return [(fault.field, fault.code) for fault in result.ignored]


@pytest.mark.parametrize(
    ("sample", "field", "code"),
    [
        ({"cpu_usage": math.nan}, "cpu_usage", "not_finite"),
        ({"temperature": math.inf}, "temperature", "not_finite"),
        ({"temperature": -math.inf}, "temperature", "not_finite"),
        ({"cpu_usage": 101.1}, "cpu_usage", "out_of_bounds"),
        ({"battery_level": -1}, "battery_level", "out_of_bounds"),
        ({"ram_used_mb": -5}, "ram_used_mb", "out_of_bounds"),
        ({"storage_total_mb": 0}, "storage_total_mb", "out_of_bounds"),
        ({"ram_used_mb": 3, "ram_total_mb": 2}, "ram_used_mb", "more_than_total"),
        ({"cpu_usage": "many"}, "cpu_usage", "invalid"),
        ({"cpu_usage": True}, "cpu_usage", "invalid"),
        ({"cpu_usage": 10**400}, "cpu_usage", "out_of_bounds"),
        ({"is_charging": 2}, "is_charging", "invalid"),
        ({"network": "wifi"}, "network", "invalid"),
        ({"network": {"signal_strength": 5}}, "network.signal_strength", "out_of_bounds"),
        ({"network": {"ssid": ["x"]}}, "network.ssid", "invalid"),
        ({"screen": {"brightness": 256}}, "screen.brightness", "out_of_bounds"),
        ({"running_apps": "one"}, "running_apps", "invalid"),
        ({"cpu_usage": 1, "odd": "x" * 9000}, "odd", "too_much_extra"),
        ({"cpu_usage": 1, "odd": {f"n{n}": 1 for n in range(300)}}, "odd", "too_much_extra"),
    ],
    ids=str,
)
def test_a_value_without_a_clear_meaning_is_dropped_and_named(
    sample: Any, field: str, code: str
) -> None:
    assert (field, code) in faults_of(sample)


@pytest.mark.parametrize(
    ("sample", "column", "used"),
    [
        ({"cpu_usage": "17"}, "cpu_usage", 17),
        ({"cpu_usage": 100.4}, "cpu_usage", 100),
        ({"cpu_usage": "99,5 %"}, "cpu_usage", 99.5),
        ({"ram_used_mb": "17.6"}, "ram_used_mb", 18),
        ({"is_charging": "true"}, "is_charging", True),
        ({"is_charging": 0}, "is_charging", False),
        ({"network": {"ssid": "x" * 65}}, "ssid", "x" * 64),
        ({"network": {"ssid": "Guest\nWi-Fi\ud800"}}, "ssid", "Guest Wi-Fi"),
        ({"network": {"ssid": 5}}, "ssid", "5"),
        ({"running_apps": ["x"] * 201}, "running_apps", json.dumps(["x"] * 200)),
        ({"running_apps": ["a", 5, "b"]}, "running_apps", '["a", "b"]'),
        ({"odd": [math.nan, "a\x00", "\ud800"]}, "extra", '{"odd": [null, "a", ""]}'),
    ],
    ids=str,
)
def test_a_value_whose_meaning_is_clear_is_converted_and_named(
    sample: Any, column: str, used: Any
) -> None:
    result = validate(sample)

    assert result.rows[0][column] == used
    assert len(result.ignored) == 1


@pytest.mark.parametrize("sample", [{}, {"recorded_at": NOW.isoformat()}, {"cpu_usage": -9}, 17])
def test_a_sample_without_a_usable_value_is_refused(sample: Any) -> None:
    result = validate(sample)

    assert result.rows == []
    assert len(result.faults) == 1


@pytest.mark.parametrize(
    "value",
    ["2026-03-01T12:00:00", "2026-03-01", "soon", 1772366400, True, "0001-01-01T00:00:00+23:59"],
)
def test_a_sample_with_a_malformed_time_gets_the_servers_with_a_flag(value: Any) -> None:
    result = validate({"cpu_usage": 1, "recorded_at": value})

    assert [(fault.field, fault.code) for fault in result.ignored] == [("recorded_at", "invalid")]
    assert result.rows[0]["recorded_at"] == NOW
    assert result.rows[0]["device_time"] is not None


def test_samples_without_a_time_keep_their_order() -> None:
    rows = validate({"cpu_usage": 1}, {"cpu_usage": 2}, {"cpu_usage": 3}).rows

    assert [row["cpu_usage"] for row in sorted(rows, key=lambda row: row["recorded_at"])] == [
        1,
        2,
        3,
    ]
    assert len({row["recorded_at"] for row in rows}) == 3


def test_used_memory_above_the_total_is_dropped() -> None:
    [row] = validate({"ram_used_mb": 3, "ram_total_mb": 2}).rows

    assert (row["ram_used_mb"], row["ram_total_mb"], row["ram_usage"]) == (None, 2, None)


@pytest.mark.parametrize("year", [1, 1970, 2015, 2100, 9999])
def test_a_clock_of_any_year_is_corrected_by_the_time_of_sending(year: int) -> None:
    sent_at = datetime(year, 1, 1, 0, 10, tzinfo=UTC)
    sample = {"cpu_usage": 1, "recorded_at": (sent_at - timedelta(minutes=5)).isoformat()}

    [row] = validate(sample, sent_at=sent_at).rows

    assert row["recorded_at"] == NOW - timedelta(minutes=5)


def test_samples_of_a_right_clock_keep_their_times_after_the_clock_was_lost() -> None:
    times = [NOW - timedelta(minutes=minutes) for minutes in (15, 10, 5)]
    samples = [{"cpu_usage": 1, "recorded_at": time.isoformat()} for time in times]
    sent_at = datetime(2015, 1, 1, 0, 0, 30, tzinfo=UTC)
    now = {"cpu_usage": 2, "recorded_at": "2015-01-01T00:00:20Z"}

    rows = validate(*samples, now, sent_at=sent_at).rows

    assert [row["recorded_at"] for row in rows] == [*times, NOW - timedelta(seconds=10)]


def test_a_sample_from_before_all_devices_beside_current_ones_gets_the_servers_time() -> None:
    old = {"cpu_usage": 1, "recorded_at": "1970-01-01T00:00:05Z"}
    current = {"cpu_usage": 2, "recorded_at": (NOW - HOUR).isoformat()}

    rows = validate(old, current).rows

    assert [row["recorded_at"] for row in rows] == [NOW, NOW - HOUR]
    assert rows[0]["device_time"] == datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)


def test_every_unusable_field_of_a_sample_is_reported() -> None:
    faults = faults_of({"cpu_usage": 102, "battery_level": -1, "screen": 1})

    assert {field for field, _ in faults} == {"cpu_usage", "battery_level", "screen"}


def test_valid_samples_are_accepted_beside_invalid_ones() -> None:
    result = validate({"cpu_usage": 1}, {"cpu_usage": 105}, {"cpu_usage": 3})

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


def test_a_clock_slightly_ahead_never_makes_a_sample_the_newest_for_good() -> None:
    assert stored_times(0.1) == [(0, True)]
    assert stored_times(0, 0.1, sent=0.1) == [(-0.1, True), (0, True)]
    assert stored_times(1 / 3600) == [(1 / 3600, False)]


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
