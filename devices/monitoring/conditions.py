"""When a value is a reason for an alert, and when it is one no more. Pure."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

HOLDS: dict[str, Callable[[float, float], bool]] = {
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}
OPPOSITE = {"gt": "le", "ge": "lt", "lt": "ge", "le": "gt"}  # not the one is the other
LOOKUP = {"gt": "gt", "ge": "gte", "lt": "lt", "le": "lte"}  # Django's words


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What holds for one device, after its overrides."""

    operator: str
    threshold: float
    clear_threshold: float | None
    lasting: timedelta
    severity: str
    is_enabled: bool = True

    def violated_by(self, value: float) -> bool:
        return HOLDS[self.operator](value, self.threshold)

    def cleared_by(self, value: float) -> bool:
        """Between the threshold and the clear value an alert stays as it is."""
        bound = self.threshold if self.clear_threshold is None else self.clear_threshold
        return HOLDS[OPPOSITE[self.operator]](value, bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningHours:
    """When alerts may be opened; without times the whole day.

    A day that closes before it opens ends in the night that follows it.
    """

    weekdays: tuple[int, ...]  # ISO: 1 is Monday
    opens_at: time | None
    closes_at: time | None
    time_zone: str

    def include(self, moment: datetime) -> bool:
        local = moment.astimezone(ZoneInfo(self.time_zone))
        opens, closes = self.opens_at or time.min, self.closes_at or time.max
        if opens <= closes:
            until_midnight = closes == time.max
            is_open = opens <= local.time() and (
                until_midnight or local.time() < closes
            )
            return local.isoweekday() in self.weekdays and is_open
        if local.time() >= opens:
            return local.isoweekday() in self.weekdays
        yesterday = local - timedelta(days=1)
        return local.time() < closes and yesterday.isoweekday() in self.weekdays
