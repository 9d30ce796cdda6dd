"""Validate, compare and store the settings of a rollout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from jsonschema import Draft202012Validator

from core.json_schema import find_errors
from devices.updates import update_windows as maintenance
from devices.updates.errors import InvalidRollout
from devices.updates.models import Deployment, DeploymentWave
from devices.updates.models.deployments import (
    DEFAULT_DEADLINE_MINUTES,
    DEFAULT_FAILURE_PERCENT,
    DEFAULT_SOAK_MINUTES,
    DEFAULT_SUCCESS_PERCENT,
)
from devices.updates.services.targets import WaveSize

MAX_WAVES = 20
MAX_SIZES = {"percent": 100, "count": 10_000_000}
LIMITS = {
    "rate": (1, 1_000_000),
    "soak_minutes": (0, 7 * 24 * 60),
    "deadline_minutes": (5, 7 * 24 * 60),
    "success_percent": (0, 100),
    "failure_percent": (0, 100),
}
FIXED_AFTER_START = ("filter", "starts_at")
DEFAULT_WAVES = (WaveSize(percent=5.0), WaveSize(percent=25.0), WaveSize(percent=100.0))

_windows = Draft202012Validator(maintenance.SCHEMA)

Errors = list[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSettings:
    """The settings of a rollout, in the same units as the fields of `Deployment`."""

    filter: Mapping[str, str] = field(default_factory=dict)
    waves: Sequence[WaveSize] = DEFAULT_WAVES
    starts_at: datetime | None = None
    windows: Sequence[Mapping[str, Any]] = ()
    dynamic: bool = False
    rate: int | None = None
    soak_minutes: int = DEFAULT_SOAK_MINUTES
    deadline_minutes: int = DEFAULT_DEADLINE_MINUTES
    success_percent: float = DEFAULT_SUCCESS_PERCENT
    failure_percent: float = DEFAULT_FAILURE_PERCENT


def validate(before: RolloutSettings, values: Mapping[str, Any]) -> RolloutSettings:
    """Return the settings after some values are replaced. The filter is not validated.

    Args:
        values: new values. The keys are field names of `RolloutSettings`.

    Raises:
        InvalidRollout: a value is invalid. `details` lists every error with its field.
    """
    settings = replace(before, **values)
    errors: Errors = []
    for name, (minimum, maximum) in LIMITS.items():
        value = getattr(settings, name)
        if value is not None and not minimum <= value <= maximum:
            sentence = f"The value must be between {minimum:,} and {maximum:,}."
            errors.append((name, sentence))
    highest = 100 - settings.failure_percent
    if settings.success_percent > highest and not errors:
        sentence = (
            f"With a failure threshold of {settings.failure_percent:g} %, the success"
            f" threshold can be at most {highest:g} %. Otherwise a wave might neither"
            " pass nor fail."
        )
        errors.append(("success_percent", sentence))
    errors += _wave_errors(settings.waves, settings.starts_at)
    errors += [
        ("windows", error.sentence)
        for error in find_errors(_windows, [*settings.windows], codes={})
    ][:5]
    if errors:
        raise InvalidRollout(errors)
    return settings


def validate_change(rollout: Deployment, before: RolloutSettings, after: RolloutSettings) -> None:
    """Check that a started rollout may change its settings.

    Raises:
        InvalidRollout: the filter or the start time differs, a started wave would be
            removed or would lose devices, or an approved rollout would become dynamic.
    """
    errors: Errors = [
        (name, "This setting cannot be changed after the start of the rollout.")
        for name in FIXED_AFTER_START
        if getattr(before, name) != getattr(after, name)
    ]
    if after.dynamic and not before.dynamic and rollout.approved_by_id is not None:
        sentence = "The number of devices was approved, so it cannot grow."
        errors.append(("dynamic", sentence))
    started = rollout.waves.exclude(state=DeploymentWave.State.WAITING)
    for wave in started:
        if wave.number > len(after.waves):
            sentence = f"Wave {wave.number} has started and cannot be removed."
            errors.append(("waves", sentence))
            continue
        size = after.waves[wave.number - 1]
        same_kind = (size.percent is None) == (wave.percent is None)
        old_size = wave.percent or wave.count or 0
        new_size = size.percent or size.count or 0
        if not same_kind or new_size < old_size:
            sentence = f"Wave {wave.number} has started and can only be made larger."
            errors.append(("waves", sentence))
    if errors:
        raise InvalidRollout(errors)


def changes(before: RolloutSettings, after: RolloutSettings) -> dict[str, tuple[Any, Any]]:
    """Return the old and the new value of each changed setting. They are part of an event."""
    changed = {}
    for name in RolloutSettings.__dataclass_fields__:
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            changed[name] = (_json_value(old), _json_value(new))
    return changed


def settings_of(rollout: Deployment) -> RolloutSettings:
    """Return the current settings of a rollout."""
    names = [name for name in RolloutSettings.__dataclass_fields__ if name != "waves"]
    sizes = [
        WaveSize(percent=wave.percent, count=wave.count, starts_at=wave.starts_at)
        for wave in rollout.waves.all()
    ]
    return RolloutSettings(**{name: getattr(rollout, name) for name in names}, waves=sizes)


def apply_settings(rollout: Deployment, settings: RolloutSettings) -> None:
    """Set the fields of a rollout. The caller saves the rollout and its waves."""
    for name in RolloutSettings.__dataclass_fields__:
        if name != "waves":
            setattr(rollout, name, _json_value(getattr(settings, name)))
    rollout.starts_at = settings.starts_at


def _wave_errors(waves: Sequence[WaveSize], starts_at: datetime | None) -> Errors:
    if not 1 <= len(waves) <= MAX_WAVES:
        return [("waves", f"A rollout has between 1 and {MAX_WAVES} waves.")]
    errors: Errors = []
    previous: dict[str, float] = {}
    earliest = starts_at
    for number, size in enumerate(waves):
        field_name = f"waves.{number}"
        sizes = {"percent": size.percent, "count": size.count}
        given = [(kind, value) for kind, value in sizes.items() if value is not None]
        if len(given) != 1:
            errors.append((field_name, "Give either a percentage or a device count."))
            continue
        kind, value = given[0]
        if not 0 < value <= MAX_SIZES[kind]:
            sentence = f"The size must be greater than 0 and at most {MAX_SIZES[kind]:,}."
            errors.append((f"{field_name}.{kind}", sentence))
        elif value <= previous.get(kind, 0):
            sentence = "A wave must be larger than the wave before. Its size includes that wave."
            errors.append((f"{field_name}.{kind}", sentence))
        previous[kind] = value
        if size.starts_at is not None:
            if earliest is not None and size.starts_at < earliest:
                sentence = "A wave cannot start before the previous wave."
                errors.append((f"{field_name}.starts_at", sentence))
            earliest = size.starts_at
    return errors


def _json_value(value: Any) -> Any:
    """Convert a setting to a value that JSON and the columns of `Deployment` can store."""
    if isinstance(value, WaveSize):
        return {
            name: _json_value(getattr(value, name))
            for name in ("percent", "count", "starts_at")
            if getattr(value, name) is not None
        }
    if isinstance(value, Mapping):
        return {name: _json_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value
