"""Pure functions that decide whether a value opens or closes an alert at a given time."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

COMPARE: dict[str, Callable[[float, float], bool]] = {
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}
NEGATED = {"gt": "le", "ge": "lt", "lt": "ge", "le": "gt"}
LOOKUP = {"gt": "gt", "ge": "gte", "lt": "lt", "le": "lte"}  # Django's lookup names


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """The condition of a rule for one device, with its overrides applied."""

    operator: str
    threshold: float
    clear_threshold: float | None
    duration: timedelta  # how long the threshold must be violated
    severity: str
    is_enabled: bool = True

    def violated_by(self, value: float) -> bool:
        return COMPARE[self.operator](value, self.threshold)

    def cleared_by(self, value: float) -> bool:
        """Return True if the value closes an open alert.

        A value between the threshold and the clear threshold neither opens nor closes an alert.
        """
        bound = self.threshold if self.clear_threshold is None else self.clear_threshold
        return COMPARE[NEGATED[self.operator]](value, bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningHours:
    """The times at which a rule may open alerts. Without times, alerts may open all day.

    If `closes_at` is earlier than `opens_at`, the hours end on the following day.
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
            is_open = opens <= local.time() and (until_midnight or local.time() < closes)
            return local.isoweekday() in self.weekdays and is_open
        if local.time() >= opens:
            return local.isoweekday() in self.weekdays
        yesterday = local - timedelta(days=1)
        return local.time() < closes and yesterday.isoweekday() in self.weekdays
