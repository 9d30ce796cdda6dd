"""Store what devices send about themselves as hawkBit attributes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction

from devices.hawkbit.models import HawkbitTarget
from devices.hawkbit.services import actions
from devices.registry.models import Device
from devices.registry.queries import lock_device
from devices.registry.services import presence
from devices.registry.services.device_details import record_hardware
from devices.registry.services.presence import ConnectReport

MAX_ATTRIBUTES = 100
MAX_LENGTH = 128  # characters of a name and of a value
MODES = ("merge", "replace", "remove")
FACTS = ("app_version", "os_version", "manufacturer", "model")  # that a device has anyway
MAX_FACT = 64  # characters


def are_wanted(device: Device) -> bool:
    """Return whether the device should send its attributes: at first, and after an update."""
    target = HawkbitTarget.objects.filter(device=device).first()
    if target is None:
        return True
    installed = actions.installed_action(device)
    return installed is not None and (installed.closed_at or target.attributes_at) > (
        target.attributes_at
    )


def store(*, device: Device, data: Mapping[str, Any], mode: str, now: datetime) -> None:
    """Store the attributes of a device.

    The attributes `app_version`, `os_version`, `manufacturer` and `model` also become the
    values of the device. Names and values are cut; of too many attributes, the first are stored.

    Args:
        mode: `merge` adds and overwrites, `replace` deletes all others, `remove` deletes the
            named ones. An unknown mode counts as `merge`.
    """
    given = dict(_usable(data))
    with transaction.atomic():
        lock_device(device.pk)
        target = HawkbitTarget.objects.filter(device=device).first()
        stored = {} if target is None or mode == "replace" else target.attributes
        if mode == "remove":
            kept = {name: value for name, value in stored.items() if name not in given}
        else:
            kept = {**stored, **given}
        kept = dict(list(kept.items())[:MAX_ATTRIBUTES])
        HawkbitTarget.objects.update_or_create(
            device=device, defaults={"attributes": kept, "attributes_at": now}
        )
    if mode != "remove":
        _report_facts(device, given, now)


def _report_facts(device: Device, given: Mapping[str, str], now: datetime) -> None:
    facts = {name: given.get(name, "")[:MAX_FACT] for name in FACTS}
    if facts["manufacturer"] or facts["model"]:
        record_hardware(
            device=device, manufacturer=facts["manufacturer"], model=facts["model"], now=now
        )
    report = ConnectReport(app_version=facts["app_version"], os_version=facts["os_version"])
    presence.connect(device=device, report=report, now=now)


def _usable(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the attributes as text. Attributes that are lists or objects are left out."""
    pairs = []
    for name, value in data.items():
        if isinstance(value, str | int | float) and (key := _cut(name)):
            pairs.append((key, _cut(str(value).lower() if isinstance(value, bool) else str(value))))
    return pairs


def _cut(text: str) -> str:
    clean = text.encode(errors="replace").decode().replace("\x00", "")
    return clean.strip()[:MAX_LENGTH]
