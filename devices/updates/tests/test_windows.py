"""Tests of maintenance windows in the local time of a device."""

from datetime import UTC, datetime

from core.weekly_times import State
from devices.updates.update_windows import window_state

NIGHT = [{"days": ["sunday", "monday"], "from": "23:00", "until": "04:00"}]
BERLIN, TOKYO = "Europe/Berlin", "Asia/Tokyo"
SUNDAY_NIGHT = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)  # 00:30 on Monday in Berlin


def test_no_windows_means_always_open() -> None:
    assert window_state([], BERLIN, SUNDAY_NIGHT) == State(True, None)


def test_a_window_uses_the_local_time_of_the_device() -> None:
    assert window_state(NIGHT, BERLIN, SUNDAY_NIGHT) == State(
        True, datetime(2026, 3, 2, 3, tzinfo=UTC)
    )
    # 08:30 on Monday in Tokyo
    assert window_state(NIGHT, TOKYO, SUNDAY_NIGHT) == State(
        False, datetime(2026, 3, 2, 14, tzinfo=UTC)
    )


def test_a_closed_window_has_its_opening_time() -> None:
    friday = datetime(2026, 3, 6, 12, tzinfo=UTC)

    assert window_state(NIGHT, BERLIN, friday) == State(False, datetime(2026, 3, 8, 22, tzinfo=UTC))
