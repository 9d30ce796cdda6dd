"""Define custom attributes, and set the attributes and notes of devices."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from core.characters import is_blank
from core.locks import transaction_lock
from core.querysets import first_or_raise
from core.tasks import enqueue_on_commit
from devices.registry.errors import AttributeNotFound, InvalidAttribute, InvalidAttributeValue
from devices.registry.events import AttributeDefined, AttributeDeleted
from devices.registry.models import AttributeDefinition, Device, DeviceAttributes
from events.domain_events import Changes
from events.services.outbox import record
from tenants.context import current_tenant_id, tenant_scope

MAX_ATTRIBUTES = 30  # of a tenant
MAX_CHOICES = 50
MAX_TEXT = 200  # characters of a value
MAX_NOTES = 4000  # characters
KEY_PATTERN = "[a-z][a-z0-9_]{0,31}"
TRUE = frozenset({"true", "yes", "1", "x"})
FALSE = frozenset({"false", "no", "0"})
DELETED_TOGETHER = 5_000  # values per statement
TASK = "devices.registry.tasks.delete_attribute_values"

_kept: ContextVar[dict[str, AttributeDefinition] | None] = ContextVar(
    "attribute definitions", default=None
)
Kind = AttributeDefinition.Kind
Value = str | float | bool


def of_tenant() -> dict[str, AttributeDefinition]:
    """Return the attributes of the current tenant by key, in the order of their labels."""
    kept = _kept.get()
    if kept is not None:
        return kept
    return {row.key: row for row in AttributeDefinition.objects.in_use()}


@contextmanager
def definitions_kept() -> Iterator[None]:
    """Read the attributes of the current tenant once for many devices, in one transaction."""
    token = _kept.set(of_tenant())
    try:
        yield
    finally:
        _kept.reset(token)


def get(key: str) -> AttributeDefinition:
    """Return an attribute of the current tenant.

    Raises:
        AttributeNotFound: there is none with this key.
    """
    return first_or_raise(AttributeDefinition.objects.in_use().filter(key=key), AttributeNotFound)


@transaction.atomic
def define(
    *,
    key: str,
    label: str,
    kind: str,
    choices: list[str] | None = None,
    must_be_new: bool = False,
    now: datetime,
) -> AttributeDefinition:
    """Create an attribute, or change its label and choices. Its kind never changes.

    Raises:
        InvalidAttribute: a value is not valid, the key is in use, or there are too many.
    """
    transaction_lock(f"attributes of {current_tenant_id()}")
    row = AttributeDefinition.objects.filter(key=key).first()
    if row is not None and row.deleted_at is not None:
        sentence = "An attribute with this key is being deleted. Try again in a minute."
        raise InvalidAttribute(sentence, field="key")
    if row is not None and must_be_new:
        raise InvalidAttribute("An attribute with this key already exists.", field="key")
    if row is None:
        row = AttributeDefinition(key=key, kind=kind)
        if AttributeDefinition.objects.count() >= MAX_ATTRIBUTES:
            raise InvalidAttribute(f"A tenant has at most {MAX_ATTRIBUTES} attributes.")
    elif row.kind != kind:
        raise InvalidAttribute("The kind of an attribute cannot be changed.", field="kind")
    row.label, row.choices = label.strip(), _choices(kind, choices or [])
    _validate(row)
    row.save()
    record([AttributeDefined(**_event_fields(row, now), kind=row.kind)])
    return row


@transaction.atomic
def delete(*, key: str, now: datetime) -> None:
    """Delete an attribute. A worker removes its values from all devices.

    Raises:
        AttributeNotFound: there is none with this key.
    """
    rows = AttributeDefinition.objects.in_use().select_for_update()
    row = first_or_raise(rows.filter(key=key), AttributeNotFound)
    row.deleted_at = now
    row.save(update_fields=["deleted_at"])
    record([AttributeDeleted(**_event_fields(row, now))])
    enqueue_on_commit(TASK)


def delete_values() -> int:
    """Remove the values of deleted attributes of all tenants. Return how many were removed.

    The rows of an attribute go last, so an interrupted call is continued by the next one.
    """
    removed = 0
    for row in list(AttributeDefinition.every_tenant.filter(deleted_at__isnull=False)):
        with tenant_scope(row.tenant_id):
            after = UUID(int=0)
            while ids := _delete_batch(row, after):
                removed, after = removed + len(ids), max(ids)
            row.delete()
    return removed


def set_details(
    device: Device, *, notes: str | None = None, values: Mapping[str, Any] | None = None
) -> Changes:
    """Set the notes and attributes of a locked device. Return what has changed.

    Args:
        notes: None leaves them unchanged.
        values: values by key, as texts or typed. None, or "", removes one. Other attributes
            stay unchanged.

    Raises:
        InvalidAttributeValue: an attribute is unknown, or a value does not fit its kind.
    """
    rows = DeviceAttributes.objects.select_for_update().filter(device=device)
    row = rows.first() or DeviceAttributes(device=device)
    changes: Changes = {}
    if notes is not None and notes.strip() != row.notes:
        if len(notes) > MAX_NOTES:
            sentence = f"Notes have at most {MAX_NOTES} characters."
            raise InvalidAttributeValue(sentence, field="notes")
        changes["notes"] = (row.notes, notes.strip())
        row.notes = notes.strip()
    for key, after in parsed(values or {}).items():
        before = row.values.pop(key, None)
        if after is not None:
            row.values[key] = after
        if before != after:
            changes[f"attributes.{key}"] = (before, after)
    if changes:
        row.save()
    return changes


def copy_details(*, source: Device, target: Device) -> Changes:
    """Give a locked device the notes and attributes of another one, as they are stored."""
    row = DeviceAttributes.objects.filter(device=source).first()
    if row is None:
        return {}
    defined = of_tenant()
    values = {key: value for key, value in row.values.items() if key in defined}
    DeviceAttributes.objects.update_or_create(
        device=target, defaults={"notes": row.notes, "values": values}
    )
    changes: Changes = {f"attributes.{key}": (None, value) for key, value in values.items()}
    return changes | ({"notes": ("", row.notes)} if row.notes else {})


def parsed(values: Mapping[str, Any]) -> dict[str, Value | None]:
    """Return values by key with the types of their attributes.

    Raises:
        InvalidAttributeValue: an attribute is unknown, or a value does not fit its kind.
    """
    if not values:
        return {}
    definitions = of_tenant()
    result: dict[str, Value | None] = {}
    for key, value in values.items():
        if key not in definitions:
            raise InvalidAttributeValue(f"There is no attribute {key}.", field="attributes")
        result[key] = parse(definitions[key], value)
    return result


def parse(definition: AttributeDefinition, value: Any) -> Value | None:
    """Return a value with the type of its attribute: dates as ISO 8601, None if it is blank.

    Raises:
        InvalidAttributeValue: the value does not fit.
    """
    if value is None or (isinstance(value, str) and is_blank(value)):
        return None
    if not isinstance(value, str | int | float):
        raise _fault(definition, "must be a text, a number, true or false")
    text = str(value).strip()
    match definition.kind:
        case Kind.NUMBER:
            return _number(definition, value, text)
        case Kind.BOOLEAN:
            if text.casefold() in TRUE | FALSE:
                return text.casefold() in TRUE
            raise _fault(definition, "must be yes or no")
        case Kind.DATE:
            try:
                return date.fromisoformat(text).isoformat()
            except ValueError:
                raise _fault(definition, "must be a date such as 2026-12-31") from None
        case Kind.CHOICE:
            if text not in definition.choices:
                raise _fault(definition, f"must be one of {', '.join(definition.choices)}")
    if len(text) > MAX_TEXT or not text.isprintable() or ";" in text:
        rule = f"has at most {MAX_TEXT} characters in one line, and no semicolon"
        raise _fault(definition, rule)
    return text


def text_of(value: Any) -> str:
    """Return a value as people write it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def _number(definition: AttributeDefinition, value: Any, text: str) -> float:
    # 1,234 may be a thousand or a little more than one, so it is refused.
    has_decimal_comma = text.count(",") == 1 and not re.search(r",\d{3}$", text)
    try:
        number = float(text.replace(",", ".") if has_decimal_comma else text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or isinstance(value, bool):
        raise _fault(definition, "must be a number")
    return number


def _fault(definition: AttributeDefinition, rule: str) -> InvalidAttributeValue:
    return InvalidAttributeValue(
        f"{definition.label} {rule}.", field=f"attributes.{definition.key}"
    )


def _choices(kind: str, choices: list[str]) -> list[str]:
    if kind != Kind.CHOICE:
        return []
    return list(dict.fromkeys(choice.strip() for choice in choices if choice.strip()))


def _validate(row: AttributeDefinition) -> None:
    if not re.fullmatch(KEY_PATTERN, row.key):
        sentence = "A key has 1 to 32 letters a to z, digits and _, and begins with a letter."
        raise InvalidAttribute(sentence, field="key")
    if is_blank(row.label) or len(row.label) > 64:
        raise InvalidAttribute("A label has 1 to 64 characters.", field="label")
    if row.kind not in Kind.values:
        raise InvalidAttribute("There is no such kind.", field="kind")
    if row.kind == Kind.CHOICE and not 1 <= len(row.choices) <= MAX_CHOICES:
        raise InvalidAttribute(f"Enter 1 to {MAX_CHOICES} choices.", field="choices")
    if any(len(choice) > MAX_TEXT or ";" in choice for choice in row.choices):
        sentence = f"A choice has at most {MAX_TEXT} characters and no semicolon."
        raise InvalidAttribute(sentence, field="choices")


def _delete_batch(row: AttributeDefinition, after: UUID) -> list[UUID]:
    """Remove values of the next devices, in the order of their ids. Return these ids."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE devices_deviceattributes SET values = values - %(key)s
            WHERE device_id IN (
                SELECT device_id FROM devices_deviceattributes
                WHERE device_id > %(after)s AND values ? %(key)s
                ORDER BY device_id LIMIT %(limit)s
            )
            RETURNING device_id
            """,
            {"key": row.key, "after": after, "limit": DELETED_TOGETHER},
        )
        return [pk for (pk,) in cursor.fetchall()]


def _event_fields(row: AttributeDefinition, now: datetime) -> dict[str, Any]:
    return {"tenant_id": row.tenant_id, "at": now, "key": row.key, "label": row.label}
