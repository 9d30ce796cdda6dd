"""Base class of domain events, and their conversion to and from database rows."""

import dataclasses
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, ClassVar, TypeVar, dataclass_transform, get_type_hints
from uuid import UUID

from cattrs import Converter

from events.models import Event
from tenants.context import current_caller

Changes = dict[str, tuple[Any, Any]]

_converter = Converter()
_converter.register_structure_hook(UUID, lambda value, _: UUID(str(value)))
_converter.register_structure_hook(datetime, lambda value, _: datetime.fromisoformat(str(value)))


@dataclass_transform(kw_only_default=True, frozen_default=True)
@dataclass(frozen=True, kw_only=True)
class DomainEvent:
    """Base class of domain events. The names of events are in the past tense.

    An event contains identifiers, never model instances. Every subclass becomes a frozen
    dataclass with keyword arguments.
    """

    name: ClassVar[str]  # such as "device.status_changed"

    # The field with the id of the object that the event is about, and the name of the portal
    # page of the object. Other events link to their device.
    link: ClassVar[tuple[str, str] | None] = None

    has_tenant: ClassVar[bool] = True  # webhooks receive only events of tenants

    tenant_id: UUID | None
    device_id: UUID | None = None
    at: datetime
    changes: Changes = field(default_factory=dict)  # field: (before, after)

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True)(cls)


DomainEventT = TypeVar("DomainEventT", bound=DomainEvent)
_COLUMNS = {"tenant_id", "device_id", "at", "changes"}


def row_of(event: DomainEvent) -> Event:
    """Return an unsaved row for an event. The row contains the current caller."""
    caller = current_caller()
    kind = type(event)
    return Event(
        tenant_id=event.tenant_id,
        name=event.name,
        device_id=event.device_id,
        at=event.at,
        caller_kind=caller.kind,
        caller_id=caller.id,
        caller_name=caller.name,
        address=caller.address,
        request_id=caller.request_id,
        data={name: getattr(event, name) for name in data_fields(kind)},
        changes=event.changes,
    )


def data_fields(kind: type[DomainEvent]) -> tuple[str, ...]:
    """Return the names of the fields that only this class has: the details of its events."""
    hashable: Any = kind
    return _data_fields(hashable)


@cache
def _data_fields(kind: Any) -> tuple[str, ...]:
    return tuple(item.name for item in dataclasses.fields(kind) if item.name not in _COLUMNS)


def event_from(row: Event, kind: type[DomainEventT]) -> DomainEventT:
    """Return the event that a row was created from.

    Fields that the event class no longer has are ignored.
    """
    hints = get_type_hints(kind)
    fields = {
        name: _converter.structure(value, hints[name])
        for name, value in row.data.items()
        if name in hints
    }
    return kind(
        tenant_id=row.tenant_id,
        device_id=row.device_id,
        at=row.at,
        changes={name: tuple(pair) for name, pair in row.changes.items()},
        **fields,
    )
