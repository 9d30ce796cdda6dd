"""Read and write the settings of a device, with optimistic locking by version."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from core.errors import Detail
from core.ignored import Ignored
from core.locks import transaction_lock
from devices.configurations.documents import json_equal
from devices.preferences.device_changes import usable_changes
from devices.preferences.errors import InvalidSettings, SettingsChanged, SettingsLocked
from devices.preferences.events import SettingsWritten
from devices.preferences.models import DeviceSettings
from devices.preferences.services import definitions
from devices.preferences.services.definitions import Preference, fingerprint
from devices.preferences.value_kinds import find_fault
from devices.registry import next_steps
from devices.registry.errors import DeviceIsRetired
from devices.registry.models import Device, NextSteps
from events.domain_events import Changes
from events.services.outbox import record
from tenants.context import current_caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting of a device.

    `source` is the origin of the value. It is `platform` or `tenant` for a default, and
    `device` or `member` for a value that was set.
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
    """A change of one setting.

    Args:
        version: the version of the setting that was read.
        value: the new value, if `has_value` is set.
        reset: reset the setting to its default.
        is_locked: True keeps the device from changing the setting, False allows changes.
            None does not change the lock.
    """

    version: int
    value: Any = None
    has_value: bool = False
    reset: bool = False
    is_locked: bool | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a device. `version` changes whenever a setting changes."""

    version: str
    settings: dict[str, Setting]


def read(device: Device) -> Settings:
    """Return all settings of a device. The number of queries is constant."""
    preferences = definitions.of_tenant()
    # Read the revision before the values. If a write happens in between, the version is
    # too old and the device reads again. A version that is too new would hide the write.
    steps = NextSteps.objects.filter(device=device)
    revision = steps.values_list("settings_revision", flat=True).first()
    rows = {row.key: row for row in DeviceSettings.objects.filter(device=device)}
    return Settings(
        version=f"{fingerprint(preferences)}-{revision or 0}",
        settings={
            key: _setting(preference, rows.get(key)) for key, preference in preferences.items()
        },
    )


@transaction.atomic
def write_usable(
    *, device: Device, changes: Mapping[str, Change], now: datetime
) -> tuple[Settings, list[Ignored]]:
    """Change settings as the device itself wishes, as far as its message is usable.

    Returns:
        The settings, and what was not used or converted.

    Raises:
        InvalidSettings: no change is usable.
        SettingsLocked, SettingsChanged: see `write`. Then nothing is written.
    """
    usable, ignored = usable_changes(changes, definitions.of_tenant())
    if not usable:
        raise InvalidSettings(
            [
                Detail(
                    code="invalid" if item.code == "dropped" else item.code,
                    sentence=item.detail,
                    field=item.field,
                )
                for item in ignored
            ]
        )
    return write(device=device, changes=usable, by_device=True, now=now), ignored


@transaction.atomic
def write(
    *, device: Device, changes: Mapping[str, Change], by_device: bool, now: datetime
) -> Settings:
    """Change settings of a device. If a change fails, no change is written.

    Args:
        changes: the changes by key.
        by_device: True if the device writes. A device may not change all settings.

    Raises:
        DeviceIsRetired: the device is retired.
        InvalidSettings: a setting does not exist, or its new value is invalid.
        SettingsLocked: the device may not write a setting.
        SettingsChanged: a setting was written since it was read.
    """
    if device.status == Device.Status.RETIRED:
        raise DeviceIsRetired
    transaction_lock(f"settings of {device.pk}")
    present = read(device)
    _check(present.settings, changes, by_device=by_device)
    rows = {row.key: row for row in DeviceSettings.objects.filter(device=device)}
    written: list[DeviceSettings] = []
    event_changes: Changes = {}
    for key, change in changes.items():
        row = rows.get(key) or DeviceSettings(device=device, key=key, has_value=False)
        differences = _apply(row, change, present.settings[key])
        if not differences:
            continue
        event_changes |= {f"{key}{suffix}": pair for suffix, pair in differences.items()}
        row.version += 1
        row.updated_at = now
        if "" in differences:  # a changed lock does not change the author of the value
            caller = current_caller()
            row.written_by, row.by_device = caller.name or caller.kind, by_device
        written.append(row)
    if not written:
        return present
    _store(written)
    _publish(device, event_changes, now)
    return read(device)


def copy_settings(failed: Device, by: Device, now: datetime) -> None:
    """Give the settings of a device to the device that replaces it, unless it has its own."""
    transaction_lock(f"settings of {by.pk}")
    own = DeviceSettings.objects.filter(device=by).values("key")
    rows = list(DeviceSettings.objects.filter(device=failed).exclude(key__in=own))
    for row in rows:
        row.pk, row._state.adding, row.device, row.updated_at = None, True, by, now
    DeviceSettings.objects.bulk_create(rows)
    if rows:
        _publish(by, {row.key: (None, row.value) for row in rows if row.has_value}, now)


def _setting(preference: Preference, row: DeviceSettings | None) -> Setting:
    """Return a setting. If the stored value is not valid any more, the default is used."""
    if row is None or not row.has_value or find_fault(preference, row.value) is not None:
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
    """Check that changes are valid, permitted, and based on the present versions."""
    if faults := _details(changes, lambda key, change: _change_fault(present.get(key), change)):
        raise InvalidSettings(faults)
    if by_device and (
        faults := _details(changes, lambda key, change: _permission_fault(present[key], change))
    ):
        raise SettingsLocked(faults)
    stale = {
        key: {"value": present[key].value, "version": present[key].version}
        for key, change in sorted(changes.items())
        if change.version != present[key].version
    }
    if stale:
        raise SettingsChanged(stale)


def _details(
    changes: Mapping[str, Change], check: Callable[[str, Change], tuple[str, str, str] | None]
) -> list[Detail]:
    details = []
    for key, change in changes.items():
        if fault := check(key, change):
            suffix, code, sentence = fault
            field = f"settings.{key}{suffix}"
            details.append(Detail(code=code, sentence=sentence, field=field))
    return details


def _change_fault(present: Setting | None, change: Change) -> tuple[str, str, str] | None:
    if present is None:
        return "", "unknown_setting", "The setting does not exist."
    if change.has_value and change.reset:
        return ".reset", "invalid", "Send either a value or reset, not both."
    if change.has_value and (fault := find_fault(present.preference, change.value)):
        return ".value", "invalid", fault
    return None


def _permission_fault(present: Setting, change: Change) -> tuple[str, str, str] | None:
    if change.is_locked is not None:
        return ".locked", "setting_not_writable", "A device cannot lock settings."
    if present.is_locked:
        return "", "setting_locked", "The setting is locked by an operator."
    if not present.preference.device_may_write:
        return "", "setting_not_writable", "Only members can change the setting."
    return None


def _apply(row: DeviceSettings, change: Change, present: Setting) -> dict[str, tuple[Any, Any]]:
    """Apply a change to a row.

    Returns:
        A pair (old, new) for each difference. The key is "" for the value and ".locked"
        for the lock.
    """
    differences: dict[str, tuple[Any, Any]] = {}
    if change.reset and row.has_value:
        row.has_value, row.value = False, None
        differences[""] = (present.value, present.preference.default)
    is_equal = row.has_value and json_equal(row.value, change.value)
    if change.has_value and not is_equal:
        row.has_value, row.value = True, change.value
        differences[""] = (present.value, change.value)
    if change.is_locked is not None and change.is_locked != row.is_locked:
        differences[".locked"] = (row.is_locked, change.is_locked)
        row.is_locked = change.is_locked
    return differences


def _store(rows: list[DeviceSettings]) -> None:
    DeviceSettings.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["device", "key"],
        update_fields=[
            "value",
            "has_value",
            "is_locked",
            "version",
            "written_by",
            "by_device",
            "updated_at",
        ],
    )


def _publish(device: Device, changes: Changes, now: datetime) -> None:
    """Record an event, and increment the settings revision in the device's `NextSteps`."""
    steps = NextSteps.objects.filter(device=device)
    revision = steps.values_list("settings_revision", flat=True).first() or 0
    next_steps.write(device, settings_revision=revision + 1)
    event = SettingsWritten(
        tenant_id=device.tenant_id, device_id=device.pk, at=now, changes=changes
    )
    record([event])
