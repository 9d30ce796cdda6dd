"""Facts, written where they happen and handed on after they are committed."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, TypeVar, get_type_hints
from uuid import UUID

from cattrs import Converter
from django.db import transaction

from events import queries
from events.models import Delivery, Event
from events.services import page_updates
from events.services.fan_out import fan_out
from tenants.context import current_caller, every_tenant_scope
from tenants.hooks import Happening

Changes = dict[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that happened, in the past tense, with identifiers and never rows."""

    name: ClassVar[str]  # "device.status_changed"

    tenant_id: UUID | None
    device_id: UUID | None = None
    at: datetime
    changes: Changes = field(default_factory=dict)  # field: (before, after)


F = TypeVar("F", bound=Fact)
Listener = Callable[[Any], None]

_from_json = Converter()
_from_json.register_structure_hook(UUID, lambda value, _: UUID(str(value)))
_from_json.register_structure_hook(
    datetime, lambda value, _: datetime.fromisoformat(str(value))
)
_OF_THE_EVENT = {"tenant_id", "device_id", "at", "changes"}
_listeners: dict[str, dict[str, tuple[type[Fact], Listener]]] = {}
_wake: list[Callable[[], None]] = []
_wake_outside: list[Callable[[], None]] = []


def on(fact: type[F]) -> Callable[[Callable[[F], None]], Callable[[F], None]]:
    """Have a function called with each fact of a kind, at least once, in device order.

    It runs in a worker under the fact's tenant, inside a transaction that also ends
    the delivery. It must bear being called twice with the same fact.
    """

    def listen(listener: Callable[[F], None]) -> Callable[[F], None]:
        path = f"{listener.__module__}.{listener.__qualname__}"
        _listeners.setdefault(fact.name, {})[path] = (fact, listener)
        return listener

    return listen


def listener_at(name: str, path: str) -> tuple[type[Fact], Listener] | None:
    """Who listens under this path to events of this name."""
    return _listeners.get(name, {}).get(path)


def wake_with(waker: Callable[[], None], *, outside: Callable[[], None]) -> None:
    """Say how the delivery is woken after a commit, and what sends to channels."""
    _wake[:], _wake_outside[:] = [waker], [outside]


def record(facts: Iterable[Fact]) -> None:
    """Write the facts into the current transaction: one INSERT, however many.

    Raises:
        TransactionManagementError: there is no transaction, so a fact could outlive
            a rollback.
    """
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError(
            "Facts are recorded inside the transaction that makes them."
        )
    events = [_event_of(fact) for fact in facts]
    if len(events) == 1:
        queries.write(events[0])
    elif events:
        Event.every_tenant.bulk_create(events)
    deliveries = [
        Delivery(
            event_id=event.pk,
            listener=path,
            stream=event.device_id or event.tenant_id,
            due_at=event.at,
        )
        for event in events
        for path in _listeners.get(event.name, ())
    ]
    if deliveries:
        Delivery.objects.bulk_create(deliveries)
        transaction.on_commit(_wake_the_delivery, robust=True)
    _tell_outside(events)


def record_happening(happening: Happening) -> None:
    """Write what happened in the room below, whose facts nobody listens to yet."""
    fact = Fact(
        tenant_id=happening.tenant_id, at=happening.at, changes=happening.changes
    )
    event = _event_of(fact, name=happening.name)
    event.data = happening.data
    nobodys = happening.tenant_id is None  # a person's own doing, of any tenant
    with every_tenant_scope() if nobodys else nullcontext():
        event.save(force_insert=True)
        _tell_outside([event])


def fact_of(event: Event, kind: type[F]) -> F:
    """The fact that an event was written from."""
    of_the_event: dict[str, Any] = {
        "tenant_id": event.tenant_id,
        "device_id": event.device_id,
        "at": event.at,
        "changes": {name: tuple(pair) for name, pair in event.changes.items()},
    }
    hints = get_type_hints(kind)
    own = {
        name: _from_json.structure(value, hints[name])
        for name, value in event.data.items()
        if name in hints  # a field that a later version of the fact gave up
    }
    return kind(**of_the_event, **own)


def _event_of(fact: Fact, *, name: str | None = None) -> Event:
    caller = current_caller()
    return Event(
        tenant_id=fact.tenant_id,
        name=name or fact.name,
        device_id=fact.device_id,
        at=fact.at,
        caller_kind=caller.kind,
        caller_id=caller.id,
        caller_name=caller.name,
        address=caller.address,
        request_id=caller.request_id,
        data={
            item.name: getattr(fact, item.name)
            for item in dataclasses.fields(fact)
            if item.name not in _OF_THE_EVENT
        },
        changes=fact.changes,
    )


def _tell_outside(events: Sequence[Event]) -> None:
    """Channels in this transaction; pages that are open when it is committed."""
    if fan_out(events):
        transaction.on_commit(_wake_the_sending, robust=True)
    if events:
        transaction.on_commit(lambda: page_updates.changed(events), robust=True)


def _wake_the_delivery() -> None:
    for waker in _wake:
        waker()


def _wake_the_sending() -> None:
    for waker in _wake_outside:
        waker()
