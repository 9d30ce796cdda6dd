"""Decide whether a value opens or closes an alert."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings

COMPARE: dict[str, Callable[[float, float], bool]] = {
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}
NEGATED = {"gt": "le", "ge": "lt", "lt": "ge", "le": "gt"}
MISSED_SAMPLES = 3  # missed samples after which a device has no data


def max_sample_age() -> timedelta:
    """Return the maximum age of a device's newest sample. An older sample counts as no data."""
    return timedelta(seconds=MISSED_SAMPLES * settings.METRICS_INTERVAL_SECONDS)


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
