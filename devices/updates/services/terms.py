"""The terms of a rollout: whom it is for, in which steps, when, and when it stops."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from jsonschema import Draft202012Validator

from devices.updates import update_windows as maintenance
from devices.updates.errors import InvalidRollout
from devices.updates.models import Deployment, DeploymentWave
from devices.updates.models.deployments import (
    USUAL_DEADLINE,
    USUAL_FAILURE,
    USUAL_SOAK,
    USUAL_SUCCESS,
)
from devices.updates.services.targets import Size

MOST_WAVES = 20
MOST = {"percent": 100, "count": 10_000_000}
LIMITS = {
    "rate": (1, 1_000_000),
    "soak_minutes": (0, 7 * 24 * 60),
    "deadline_minutes": (5, 7 * 24 * 60),
    "success_percent": (0, 100),
    "failure_percent": (0, 100),
}
ONCE = ("filter", "starts_at")  # not changed any more when it has begun
USUAL_WAVES = (Size(percent=5.0), Size(percent=25.0), Size(percent=100.0))

_windows = Draft202012Validator(maintenance.SCHEMA)

Faults = list[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Percentages are of devices; see `Deployment` for the rest."""

    filter: Mapping[str, str] = field(default_factory=dict)
    waves: Sequence[Size] = USUAL_WAVES
    starts_at: datetime | None = None
    windows: Sequence[Mapping[str, Any]] = ()
    rate: int | None = None
    soak_minutes: int = USUAL_SOAK
    deadline_minutes: int = USUAL_DEADLINE
    success_percent: float = USUAL_SUCCESS
    failure_percent: float = USUAL_FAILURE


def checked(before: Terms, said: Mapping[str, Any]) -> Terms:
    """The terms with what is said in the place of what was; the filter is not judged.

    Raises:
        InvalidRollout: every fault, with its place.
    """
    agreed = replace(before, **said)
    faults: Faults = []
    for name, (least, most) in LIMITS.items():
        value = getattr(agreed, name)
        if value is not None and not least <= value <= most:
            faults.append((name, f"From {least:,} to {most:,}."))
    if agreed.success_percent > 100 - agreed.failure_percent and not faults:
        sentence = (
            f"With {agreed.failure_percent:g} % allowed to fail, at most"
            f" {100 - agreed.failure_percent:g} % can be asked to succeed:"
            " else it might neither go on nor stop."
        )
        faults.append(("success_percent", sentence))
    faults += _faults_of_waves(agreed.waves, agreed.starts_at)
    faults += [
        ("windows", error.message) for error in _windows.iter_errors([*agreed.windows])
    ][:5]
    if faults:
        raise InvalidRollout(faults)
    return agreed


def check_change(row: Deployment, before: Terms, agreed: Terms) -> None:
    """Whether a rollout that has begun may have other terms.

    Raises:
        InvalidRollout: it would take an update from devices that have it before them.
    """
    faults: Faults = [
        (name, "This is settled: the rollout has begun.")
        for name in ONCE
        if getattr(before, name) != getattr(agreed, name)
    ]
    begun = row.waves.exclude(state=DeploymentWave.State.WAITING)
    for wave in begun:
        if wave.number > len(agreed.waves):
            faults.append(("waves", f"Wave {wave.number} has begun."))
            continue
        size = agreed.waves[wave.number - 1]
        same_kind = (size.percent is None) == (wave.percent is None)
        had, gets = wave.percent or wave.count or 0, size.percent or size.count or 0
        if not same_kind or gets < had:
            sentence = f"Wave {wave.number} has begun: it can be made larger only."
            faults.append(("waves", sentence))
    if faults:
        raise InvalidRollout(faults)


def changes(before: Terms, after: Terms) -> dict[str, tuple[Any, Any]]:
    """Field by field, as an event has them."""
    told = {}
    for name in Terms.__dataclass_fields__:
        was, is_now = getattr(before, name), getattr(after, name)
        if was != is_now:
            told[name] = (_plain(was), _plain(is_now))
    return told


def of(row: Deployment) -> Terms:
    """The terms of a rollout as they stand."""
    own = {n: getattr(row, n) for n in Terms.__dataclass_fields__ if n != "waves"}
    sizes = [
        Size(percent=wave.percent, count=wave.count, starts_at=wave.starts_at)
        for wave in row.waves.all()
    ]
    return Terms(**own, waves=sizes)


def write(row: Deployment, agreed: Terms) -> None:
    """Note them on the row, for the caller to save; the waves are rows of their own."""
    for name in Terms.__dataclass_fields__:
        if name != "waves":
            setattr(row, name, _plain(getattr(agreed, name)))
    row.starts_at = agreed.starts_at


def _faults_of_waves(waves: Sequence[Size], starts_at: datetime | None) -> Faults:
    if not 1 <= len(waves) <= MOST_WAVES:
        return [("waves", f"From 1 to {MOST_WAVES} waves.")]
    faults: Faults = []
    last: dict[str, float] = {}
    moment = starts_at
    for number, size in enumerate(waves):
        place = f"waves.{number}"
        said = {"percent": size.percent, "count": size.count}
        named = [(kind, value) for kind, value in said.items() if value is not None]
        if len(named) != 1:
            faults.append((place, "Either a percentage or a count."))
            continue
        kind, value = named[0]
        if not 0 < value <= MOST[kind]:
            limits = f"More than 0, at most {MOST[kind]:,}."
            faults.append((f"{place}.{kind}", limits))
        elif value <= last.get(kind, 0):
            sentence = "It goes further than the wave before: sizes are added up."
            faults.append((f"{place}.{kind}", sentence))
        last[kind] = value
        if size.starts_at is not None:
            if moment is not None and size.starts_at < moment:
                sentence = "Not before what comes before it."
                faults.append((f"{place}.starts_at", sentence))
            moment = size.starts_at
    return faults


def _plain(value: Any) -> Any:
    """As JSON and the columns have it."""
    if isinstance(value, Size):
        return {
            name: _plain(getattr(value, name))
            for name in ("percent", "count", "starts_at")
            if getattr(value, name) is not None
        }
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value
