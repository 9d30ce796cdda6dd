"""The settings of one device: read all at once, written with the version that was seen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from core.errors import Detail
from core.locks import in_turn
from devices.configurations.documents import same
from devices.preferences.errors import (
    InvalidSettings,
    SettingsChanged,
    SettingsLocked,
)
from devices.preferences.events import SettingsWritten
from devices.preferences.models import DeviceSettings
from devices.preferences.services import definitions
from devices.preferences.services.definitions import Preference, fingerprint
from devices.preferences.value_kinds import fault
from devices.registry import next_steps
from devices.registry.errors import DeviceIsRetired
from devices.registry.models import Device, NextSteps
from events.domain_events import Changes
from events.services.outbox import record
from tenants.context import current_caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting as the device has it.

    `source` says who has chosen the value: `platform`, `tenant`, `device` or `member`.
    """

    preference: Preference
    value: Any
    version: int
    source: str
    is_locked: bool
    updated_at: datetime | None
    written_by: str

    @property
    def device_may_write(self) -> bool:
        return self.preference.device_may_write and not self.is_locked


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is wanted of one setting; `version` is the one that was seen.

    Args:
        value: the new value, where `has_value`; else it is as it was.
        reset: back to the default.
        is_locked: whether the device may not change it any more; None: as it was.
    """

    version: int
    value: Any = None
    has_value: bool = False
    reset: bool = False
    is_locked: bool | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a device; the version changes with any of them."""

    version: str
    settings: dict[str, Setting]


def of(device: Device) -> Settings:
    """Everything at once, in three queries however much it is."""
    preferences = definitions.of_tenant()
    # Before the values: of a write in between, the version is too old, never too new.
    steps = NextSteps.objects.filter(device=device)
    revision = steps.values_list("settings_revision", flat=True).first()
    rows = {row.key: row for row in DeviceSettings.objects.filter(device=device)}
    return Settings(
        version=version_of(preferences, revision or 0),
        settings={
            key: _setting(preference, rows.get(key))
            for key, preference in preferences.items()
        },
    )


def version_of(preferences: dict[str, Preference], revision: int) -> str:
    return f"{fingerprint(preferences)}-{revision}"


@transaction.atomic
def write(
    *, device: Device, changes: Mapping[str, Change], by_device: bool, now: datetime
) -> Settings:
    """Change settings of a device: all of them, or none.

    Raises:
        DeviceIsRetired: history is not rewritten.
        InvalidSettings: there is no such setting, or it has no such value.
        SettingsLocked: the device may not, or it is locked.
        SettingsChanged: somebody wrote one of them since; it says what is there now.
    """
    if device.status == Device.Status.RETIRED:
        raise DeviceIsRetired
    in_turn(f"settings of {device.pk}")
    present = of(device)
    _check(present.settings, changes, by_device=by_device)
    rows = {row.key: row for row in DeviceSettings.objects.filter(device=device)}
    written: list[DeviceSettings] = []
    told: Changes = {}
    for key, change in changes.items():
        row = rows.get(key) or DeviceSettings(device=device, key=key, has_value=False)
        differences = _apply(row, change, present.settings[key])
        if not differences:
            continue
        told |= {f"{key}{suffix}": pair for suffix, pair in differences.items()}
        row.version += 1
        row.updated_at = now
        if "" in differences:  # to lock it is not to choose it
            caller = current_caller()
            row.written_by, row.by_device = caller.name or caller.kind, by_device
        written.append(row)
    if not written:
        return present
    _keep(written)
    _announce(device, told, now)
    return of(device)


def _setting(preference: Preference, row: DeviceSettings | None) -> Setting:
    """A value that the definition does not allow any more is not one."""
    chosen = row is not None and row.has_value
    if row is None or not chosen or fault(preference, row.value) is not None:
        value, source = preference.default, preference.default_source
    else:
        value, source = row.value, "device" if row.by_device else "member"
    return Setting(
        preference=preference,
        value=value,
        version=row.version if row else 0,
        source=source,
        is_locked=row.is_locked if row else False,
        updated_at=row.updated_at if row else None,
        written_by=row.written_by if row else "",
    )


def _check(
    present: Mapping[str, Setting], changes: Mapping[str, Change], *, by_device: bool
) -> None:
    if found := _faults(changes, lambda key, change: _wrong(present.get(key), change)):
        raise InvalidSettings(found)
    if by_device and (
        found := _faults(
            changes, lambda key, change: _not_allowed(present[key], change)
        )
    ):
        raise SettingsLocked(found)
    stale = {
        key: {"value": present[key].value, "version": present[key].version}
        for key, change in sorted(changes.items())
        if change.version != present[key].version
    }
    if stale:
        raise SettingsChanged(stale)


def _faults(
    changes: Mapping[str, Change],
    judge: Callable[[str, Change], tuple[str, str, str] | None],
) -> list[Detail]:
    found = []
    for key, change in changes.items():
        if said := judge(key, change):
            place, code, sentence = said
            field = f"settings.{key}{place}"
            found.append(Detail(code=code, sentence=sentence, field=field))
    return found


def _wrong(present: Setting | None, change: Change) -> tuple[str, str, str] | None:
    if present is None:
        return "", "unknown_setting", "There is no such setting."
    if change.has_value and change.reset:
        return ".reset", "invalid", "Not with a value."
    if change.has_value and (said := fault(present.preference, change.value)):
        return ".value", "invalid", said
    return None


def _not_allowed(present: Setting, change: Change) -> tuple[str, str, str] | None:
    if change.is_locked is not None:
        return ".locked", "setting_not_writable", "A device locks nothing."
    if present.is_locked:
        return "", "setting_locked", "An operator has locked it."
    if not present.preference.device_may_write:
        return "", "setting_not_writable", "This is not the device's to choose."
    return None


def _apply(
    row: DeviceSettings, change: Change, present: Setting
) -> dict[str, tuple[Any, Any]]:
    """Change a row as is wanted; what is different then, "" being the value."""
    differences: dict[str, tuple[Any, Any]] = {}
    if change.reset and row.has_value:
        row.has_value, row.value = False, None
        differences[""] = (present.value, present.preference.default)
    kept = row.has_value and same(row.value, change.value)
    if change.has_value and not kept:
        row.has_value, row.value = True, change.value
        differences[""] = (present.value, change.value)
    if change.is_locked is not None and change.is_locked != row.is_locked:
        differences[".locked"] = (row.is_locked, change.is_locked)
        row.is_locked = change.is_locked
    return differences


def _keep(rows: list[DeviceSettings]) -> None:
    DeviceSettings.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["device", "key"],
        update_fields=[
            *("value", "has_value", "is_locked", "version"),
            *("written_by", "by_device", "updated_at"),
        ],
    )


def _announce(device: Device, told: Changes, now: datetime) -> None:
    """The device learns of it at its next connect, whoever has written."""
    steps = NextSteps.objects.filter(device=device)
    revision = steps.values_list("settings_revision", flat=True).first() or 0
    next_steps.write(device, settings_revision=revision + 1)
    fact = SettingsWritten(
        tenant_id=device.tenant_id, device_id=device.pk, at=now, changes=told
    )
    record([fact])
