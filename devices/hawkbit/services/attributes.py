"""Store what devices send about themselves as hawkBit attributes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction

from core.ignored import Ignored
from devices.hawkbit.models import HawkbitTarget
from devices.hawkbit.services import actions
from devices.registry.models import Device
from devices.registry.queries import lock_device
from devices.registry.services import presence, unreadable_fields
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
    values of the device when they change: many devices send the same versions after an update.
    Names and values are cut; of too many attributes, the first are stored. What was cut or left
    out is noted for members. Without any usable attribute, nothing changes.

    Args:
        mode: `merge` adds and overwrites, `replace` deletes all others, `remove` deletes the
            named ones. An unknown mode counts as `merge`.
    """
    given = dict(_usable(data))
    unreadable_fields.note(device, _ignored(data, given), now=now)
    with transaction.atomic():
        lock_device(device.pk)
        target = HawkbitTarget.objects.filter(device=device).first()
        former = {} if target is None else target.attributes
        if mode == "remove":
            kept = {name: value for name, value in former.items() if name not in given}
        elif mode == "replace" and given:
            kept = given
        else:
            kept = {**former, **given}
        kept = dict(list(kept.items())[:MAX_ATTRIBUTES])
        HawkbitTarget.objects.update_or_create(
            device=device, defaults={"attributes": kept, "attributes_at": now}
        )
    news = {name: value for name, value in given.items() if former.get(name) != value}
    _report_facts(device, {} if mode == "remove" else news, now)


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


def _ignored(data: Mapping[str, Any], given: Mapping[str, str]) -> list[Ignored]:
    """Return what of the attributes is not stored as it was sent."""
    ignored = []
    for name, value in list(data.items())[: 2 * MAX_ATTRIBUTES]:
        field, stored = f"data.{_cut(name)}", given.get(_cut(name))
        if stored is None:
            ignored.append(Ignored(field, "invalid", "An attribute is a text or a number."))
        elif len(str(value)) > MAX_LENGTH or len(name) > MAX_LENGTH:
            sentence = f"Names and values have at most {MAX_LENGTH} characters."
            ignored.append(Ignored(field, "max_length", sentence))
    if len(given) > MAX_ATTRIBUTES:
        sentence = f"Only {MAX_ATTRIBUTES} attributes are stored."
        ignored.append(Ignored("data", "max_length", sentence))
    return ignored


def _cut(text: str) -> str:
    clean = text.encode(errors="replace").decode().replace("\x00", "")
    return clean.strip()[:MAX_LENGTH]
