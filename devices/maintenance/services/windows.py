"""Create, change, end and delete maintenance windows."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from jsonschema import Draft202012Validator

from core import weekly_times
from core.characters import is_blank
from core.locks import transaction_lock
from core.querysets import first_or_raise
from core.time_zones import time_zones
from devices.maintenance.errors import InvalidWindow, NoSuchWindow, WindowIsNotOpen
from devices.maintenance.events import (
    MaintenanceWindowCreated,
    MaintenanceWindowDeleted,
    MaintenanceWindowUpdated,
)
from devices.maintenance.models import MaintenanceWindow
from events.domain_events import Changes
from events.services.outbox import record
from tenants.context import current_tenant_id

MAX_WINDOWS = 200  # of a tenant, without those that are over
MAX_TIMES = 20  # of a weekly window
MAX_DURATION = timedelta(days=366)
SUBJECTS = ("site", "tag", "device")
_times = Draft202012Validator(weekly_times.schema(MAX_TIMES))


@transaction.atomic
def create(*, now: datetime, **fields: Any) -> MaintenanceWindow:
    """Create a maintenance window of the current tenant.

    Args:
        fields: fields of `MaintenanceWindow`.

    Raises:
        InvalidWindow: a value is not valid, or the tenant has too many windows.
    """
    transaction_lock(f"maintenance of {current_tenant_id()}")
    window = MaintenanceWindow(created_at=now, **fields)
    _complete(window)
    if window.ends_at is not None and window.ends_at <= now:
        raise InvalidWindow("The end is in the past.", field="ends_at")
    if MaintenanceWindow.objects.not_over(now).count() >= MAX_WINDOWS:
        raise InvalidWindow(
            f"A tenant has at most {MAX_WINDOWS} maintenance windows. Delete one first."
        )
    window.save(force_insert=True)
    created = MaintenanceWindowCreated(
        **_event_fields(window, now), starts_at=window.starts_at, ends_at=window.ends_at
    )
    record([created])
    return window


@transaction.atomic
def change(*, window: MaintenanceWindow, now: datetime, **fields: Any) -> MaintenanceWindow:
    """Change a maintenance window.

    Args:
        fields: the fields of `MaintenanceWindow` to change.

    Raises:
        InvalidWindow: a value is not valid.
        NoSuchWindow: the window was deleted.
    """
    window = _locked(window.pk)
    before = {name: getattr(window, name) for name in fields}
    for name, value in fields.items():
        setattr(window, name, value)
    _complete(window)
    window.save()
    changes: Changes = {
        name: (_json_value(before[name]), _json_value(getattr(window, name)))
        for name in fields
        if before[name] != getattr(window, name)
    }
    if changes:
        record([MaintenanceWindowUpdated(**_event_fields(window, now), changes=changes)])
    return window


def end(*, window: MaintenanceWindow, now: datetime) -> MaintenanceWindow:
    """End an open window that does not repeat.

    Raises:
        WindowIsNotOpen: the window is not open, or repeats every week.
        NoSuchWindow: the window was deleted.
    """
    starts, ends = window.starts_at, window.ends_at
    if starts is None or ends is None or not starts < now < ends:
        raise WindowIsNotOpen
    return change(window=window, ends_at=now, now=now)


@transaction.atomic
def delete(*, window: MaintenanceWindow, now: datetime) -> None:
    """Delete a maintenance window. If it is open, it holds nothing back from now on.

    Raises:
        NoSuchWindow: the window was deleted already.
    """
    window = _locked(window.pk)
    record([MaintenanceWindowDeleted(**_event_fields(window, now))])
    window.delete()


def get(window_id: UUID) -> MaintenanceWindow:
    """Return a window of the current tenant.

    Raises:
        NoSuchWindow: there is none.
    """
    rows = MaintenanceWindow.objects.select_related("site", "tag", "device")
    return first_or_raise(rows.filter(pk=window_id), NoSuchWindow)


def _locked(window_id: UUID) -> MaintenanceWindow:
    rows = MaintenanceWindow.objects.select_for_update(of=("self",))
    return first_or_raise(
        rows.select_related("site", "tag", "device").filter(pk=window_id), NoSuchWindow
    )


def _complete(window: MaintenanceWindow) -> None:
    """Validate a window, and clear the fields that do not belong to its scope and recurrence."""
    if is_blank(window.name) or len(window.name) > 120:
        raise InvalidWindow("A name has 1 to 120 characters.", field="name")
    for name in SUBJECTS:
        if name != window.scope:
            setattr(window, name, None)
        elif getattr(window, f"{name}_id") is None:
            raise InvalidWindow(f"A {name} is required for this scope.", field=name)
    if not window.holds_alerts and not window.holds_commands:
        raise InvalidWindow("The window must hold alerts, commands or both.", field="holds_alerts")
    if window.recurrence == window.Recurrence.ONCE:
        window.times, window.time_zone = [], ""
        _check_span(window)
    else:
        window.starts_at = window.ends_at = None
        _check_times(window)


def _check_span(window: MaintenanceWindow) -> None:
    for name in ("starts_at", "ends_at"):
        if getattr(window, name) is None:
            raise InvalidWindow("A window needs a start and an end.", field=name)
    assert window.starts_at is not None
    assert window.ends_at is not None
    if window.ends_at <= window.starts_at:
        raise InvalidWindow("The end must be after the start.", field="ends_at")
    if window.ends_at - window.starts_at > MAX_DURATION:
        raise InvalidWindow("A window lasts at most a year.", field="ends_at")


def _check_times(window: MaintenanceWindow) -> None:
    if not window.times:
        sentence = "A weekly window needs days, a start and an end."
        raise InvalidWindow(sentence, field="times")
    if error := next(_times.iter_errors(window.times), None):
        raise InvalidWindow(error.message[:200], field="times")
    if window.time_zone and window.time_zone not in time_zones():
        sentence = "Unknown time zone. Use a name of the IANA database, such as Europe/Berlin."
        raise InvalidWindow(sentence, field="time_zone")


def _event_fields(window: MaintenanceWindow, now: datetime) -> dict[str, Any]:
    return {
        "tenant_id": window.tenant_id,
        "device_id": window.device_id,
        "at": now,
        "window_id": str(window.pk),
        "window": window.name,
    }


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return getattr(value, "name", value)
