"""Decide from observations whether two devices use one device's identity.

The module has no database access. An observation is something that one device does rarely or
never, such as a change of its key. It is recorded by `services.clone_detection`. Addresses are
no evidence: one honest device may alternate between two lines, between IPv4 and IPv6, or between
the addresses of its provider.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

# A device uses one key at a time. A change back to an earlier key therefore shows a second device.
MIN_KEY_RETURNS = 1
# A device that goes back to a token it has replaced may have restored its storage once.
MIN_REPLACED_TOKENS = 2
# One request may be late. From the second return on, two systems run at the same time.
MIN_BOOT_RETURNS = 2
MIN_COUNTER_RETURNS = 5
# A device that loses its line opens a new push connection while the old one still seems open, at
# most about once a minute. Two devices displace each other after the retry time, 1 to 15 s.
MIN_REPLACEMENTS = 20
REPLACEMENT_PERIOD = timedelta(minutes=10)
SHORT_CONNECTION = timedelta(seconds=60)  # a connection that is replaced within this time counts

# Numbers of reports that are lost one after the other without being an observation.
MAX_COUNTER_GAP = 10


class Kind(StrEnum):
    """What was observed."""

    KEY = "key"  # a registration with a CSR; `value` is the digest of its key
    TOKEN = "token"  # noqa: S105 # use of a replaced token while the present one is in use
    BOOT = "boot"  # a change of the boot id from `previous` to `value`
    COUNTER = "counter"  # a change of the report number that is no small step forward
    REPLACEMENT = "replacement"  # of a push connection that was opened a short time before


@dataclass(frozen=True, slots=True)
class Observation:
    """One observation of a device."""

    kind: str  # a `Kind`
    at: datetime
    value: str = ""
    previous: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why two devices must exist.

    Args:
        seen: the observed values, oldest first.
    """

    reason: str
    seen: list[str]


def evidence_of_clone(observations: Sequence[Observation]) -> Evidence | None:
    """Return the evidence that two devices use the same identity, or None.

    Args:
        observations: those of one device within the last `CLONE_WINDOW_SECONDS`, oldest first.
    """
    for kind, is_clone, reason in _RULES:
        of_kind = [item for item in observations if item.kind == kind]
        if of_kind and is_clone(of_kind):
            return Evidence(reason, [item.value for item in of_kind if item.value][-8:])
    return None


def is_counter_jump(previous: int | None, number: int) -> bool:
    """Return True if a report number is not the next one, a repeated one or one shortly after."""
    return previous is not None and not 0 <= number - previous <= MAX_COUNTER_GAP


def count_returns(values: Sequence[str]) -> int:
    """Count the changes back to an earlier value. For example, "ABA" has one return."""
    earlier: set[str] = set()
    count, previous = 0, None
    for value in values:
        if value != previous and value in earlier:
            count += 1
        earlier.add(value)
        previous = value
    return count


def _keys_alternate(observations: Sequence[Observation]) -> bool:
    return count_returns([item.value for item in observations]) >= MIN_KEY_RETURNS


def _replaced_tokens_are_used(observations: Sequence[Observation]) -> bool:
    return len({item.value for item in observations}) >= MIN_REPLACED_TOKENS


def _boots_alternate(observations: Sequence[Observation]) -> bool:
    boots = [observations[0].previous, *(item.value for item in observations)]
    return count_returns(boots) >= MIN_BOOT_RETURNS


def _counters_interleave(observations: Sequence[Observation]) -> bool:
    """Return True if the numbers continue two increasing series.

    A device that restarts its counter jumps down again and again, but to the same low numbers.
    """
    count, last_target = 0, None
    left_behind: list[int] = []
    for item in observations:
        left, target = int(item.previous), int(item.value)
        if target > left:
            count += any(0 < target - number <= MAX_COUNTER_GAP for number in left_behind)
        else:
            count += last_target is not None and 0 < target - last_target <= MAX_COUNTER_GAP
            last_target = target
        left_behind.append(left)
    return count >= MIN_COUNTER_RETURNS


def _connections_displace_each_other(observations: Sequence[Observation]) -> bool:
    since = observations[-1].at - REPLACEMENT_PERIOD
    return sum(item.at > since for item in observations) >= MIN_REPLACEMENTS


_RULES: tuple[tuple[Kind, Callable[[Sequence[Observation]], bool], str], ...] = (
    (Kind.KEY, _keys_alternate, "two keys are in use"),
    (Kind.TOKEN, _replaced_tokens_are_used, "replaced tokens are still in use"),
    (Kind.BOOT, _boots_alternate, "two boots run at the same time"),
    (Kind.COUNTER, _counters_interleave, "two report counters are interleaved"),
    (Kind.REPLACEMENT, _connections_displace_each_other, "two push connections replace each other"),
)
