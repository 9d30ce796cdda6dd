"""When a device may be updated, by its own clock."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from devices.updates.update_windows import Opening, opening

NIGHT = [{"days": ["sunday", "monday"], "from": "23:00", "until": "04:00"}]
BERLIN, TOKYO = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Tokyo")
SUNDAY_NIGHT = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)  # 00:30 on Monday in Berlin


def test_without_windows_it_is_always_open() -> None:
    assert opening([], BERLIN, SUNDAY_NIGHT) == Opening(True, None)


def test_a_window_is_by_the_devices_clock() -> None:
    assert opening(NIGHT, BERLIN, SUNDAY_NIGHT) == Opening(
        True, datetime(2026, 3, 2, 3, tzinfo=UTC)
    )
    # 08:30 on Monday in Tokyo
    assert opening(NIGHT, TOKYO, SUNDAY_NIGHT) == Opening(
        False, datetime(2026, 3, 2, 14, tzinfo=UTC)
    )


def test_a_closed_window_says_when_it_opens() -> None:
    friday = datetime(2026, 3, 6, 12, tzinfo=UTC)

    assert opening(NIGHT, BERLIN, friday) == Opening(
        False, datetime(2026, 3, 8, 22, tzinfo=UTC)
    )
