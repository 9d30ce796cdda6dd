"""When a device may be updated, by its own clock."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from devices.updates.update_windows import WindowState, window_state

NIGHT = [{"days": ["sunday", "monday"], "from": "23:00", "until": "04:00"}]
BERLIN, TOKYO = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Tokyo")
SUNDAY_NIGHT = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)  # 00:30 on Monday in Berlin


def test_without_windows_it_is_always_open() -> None:
    assert window_state([], BERLIN, SUNDAY_NIGHT) == WindowState(True, None)


def test_a_window_is_by_the_devices_clock() -> None:
    assert window_state(NIGHT, BERLIN, SUNDAY_NIGHT) == WindowState(
        True, datetime(2026, 3, 2, 3, tzinfo=UTC)
    )
    # 08:30 on Monday in Tokyo
    assert window_state(NIGHT, TOKYO, SUNDAY_NIGHT) == WindowState(
        False, datetime(2026, 3, 2, 14, tzinfo=UTC)
    )


def test_a_closed_window_says_when_it_opens() -> None:
    friday = datetime(2026, 3, 6, 12, tzinfo=UTC)

    assert window_state(NIGHT, BERLIN, friday) == WindowState(
        False, datetime(2026, 3, 8, 22, tzinfo=UTC)
    )
