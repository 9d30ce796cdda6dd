"""Which samples are taken, and what is said of the others."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from devices.metrics.measures import FIELDS
from devices.metrics.sample_validation import Clock, Judged, judge

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLOCK = Clock(now=NOW, oldest=NOW - timedelta(days=90), limit=timedelta(minutes=10))
HOUR = timedelta(hours=1)


def judged(*samples: Any, sent_at: datetime | None = None) -> Judged:
    return judge(list(samples), sent_at=sent_at, clock=CLOCK)


def wrong_with(sample: Any) -> list[tuple[str, str]]:
    found = judged(sample)
    assert found.rows == []
    return [(fault.field, fault.code) for fault in found.faults]


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
        (
            {"network": {"signal_strength": 5}},
            "network.signal_strength",
            "out_of_bounds",
        ),
        ({"network": {"ssid": "x" * 65}}, "network.ssid", "max_length"),
        ({"screen": {"brightness": 256}}, "screen.brightness", "out_of_bounds"),
        ({"running_apps": "one"}, "running_apps", "invalid"),
        ({"running_apps": ["x"] * 201}, "running_apps", "max_length"),
        ({"running_apps": ["a\x00"]}, "running_apps", "invalid"),
        ({"cpu_usage": 1, "odd": "x" * 9000}, "odd", "too_much_extra"),
        ({"cpu_usage": 1, "odd": math.nan}, "odd", "not_finite"),
        ({"cpu_usage": 1, "odd": "\x00"}, "odd", "invalid"),
        ({}, "", "empty_sample"),
        ({"recorded_at": NOW.isoformat()}, "", "empty_sample"),
        (17, "", "invalid"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_by_the_name_of_its_field(
    sample: Any, field: str, code: str
) -> None:
    assert (field, code) in wrong_with(sample)


@pytest.mark.parametrize(
    "said",
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
def test_a_time_that_no_clock_of_ours_says_is_refused(said: Any) -> None:
    [(field, _)] = wrong_with({"cpu_usage": 1, "recorded_at": said})
    assert field == "recorded_at"


def test_each_wrong_field_of_a_sample_is_named() -> None:
    wrong = wrong_with({"cpu_usage": 101, "battery_level": -1, "screen": 1})

    assert {field for field, _ in wrong} == {"cpu_usage", "battery_level", "screen"}


def test_the_good_samples_of_a_batch_are_kept_beside_the_bad_ones() -> None:
    found = judged({"cpu_usage": 1}, {"cpu_usage": 101}, {"cpu_usage": 3})

    assert [row["cpu_usage"] for row in found.rows] == [1, 3]
    assert [fault.index for fault in found.faults] == [1]


def test_bounds_include_themselves() -> None:
    for field in FIELDS:
        if field.kind not in ("number", "whole") or field.column.endswith("_mb"):
            continue
        for bound in (field.least, field.most):
            sample: Any = bound
            for name in reversed(field.place):
                sample = {name: sample}
            assert judged(sample).rows[0][field.column] == bound


def test_fields_that_are_not_known_are_kept_apart() -> None:
    [row] = judged({"odd": [1, "ä"], "network": {"type": "wifi", "vlan": 7}}).rows

    assert row["network_type"] == "wifi"
    assert row["extra"] == '{"odd": [1, "\\u00e4"], "network": {"vlan": 7}}'


def test_shares_follow_from_used_and_total() -> None:
    [row] = judged({"ram_used_mb": 512, "ram_total_mb": 2048}).rows

    assert row["ram_usage"] == 25
    assert row["storage_usage"] is None


@pytest.mark.parametrize(("kind", "is_connected"), [("wifi", 1), ("None", 0)])
def test_a_device_is_connected_unless_it_says_that_it_has_no_network(
    kind: str, is_connected: int
) -> None:
    assert judged({"network": {"type": kind}}).rows[0]["is_connected"] == is_connected


def test_a_sample_without_a_time_was_recorded_now() -> None:
    assert judged({"cpu_usage": 1}).rows[0]["recorded_at"] == NOW


def recorded(*hours: float, sent: float | None = None) -> list[tuple[float, bool]]:
    """Where samples of so many hours from now come to lie, and whether by our clock."""
    samples = [
        {"cpu_usage": 1, "recorded_at": (NOW + hour * HOUR).isoformat()}
        for hour in hours
    ]
    sent_at = None if sent is None else NOW + sent * HOUR
    return [
        ((row["recorded_at"] - NOW) / HOUR, row["device_time"] is not None)
        for row in judged(*samples, sent_at=sent_at).rows
    ]


def test_late_samples_keep_their_time() -> None:
    assert recorded(-80 * 24, -1) == [(-80 * 24, False), (-1, False)]


def test_a_clock_a_little_ahead_is_believed() -> None:
    assert recorded(0.1) == [(0.1, False)]


def test_samples_from_the_future_get_our_time_and_keep_their_distance() -> None:
    assert recorded(47, 48) == [(-1, True), (0, True)]


def test_samples_from_before_anything_is_kept_get_our_time() -> None:
    year = 365 * 24
    assert recorded(-year - 1, -year) == [(-1, True), (0, True)]


def test_with_the_time_of_sending_the_clocks_error_is_known() -> None:
    assert recorded(-5, -3, sent=-3) == [(-2, True), (0, True)]
    assert recorded(-5, sent=-0.1) == [(-5, False)]


def test_a_right_clock_that_kept_samples_for_too_long_is_not_taken_for_a_wrong_one() -> (
    None
):
    assert recorded(-92 * 24, -1) == [(-1, False)]


def test_what_is_too_old_by_a_right_clock_is_refused() -> None:
    old = {"cpu_usage": 1, "recorded_at": (NOW - 91 * 24 * HOUR).isoformat()}

    [fault] = judged(old, sent_at=NOW).faults

    assert (fault.field, fault.code) == ("recorded_at", "not_kept")
