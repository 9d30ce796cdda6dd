"""What is done to the layers: saved, restored, put in order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Max

from core.locks import in_turn
from devices.configurations.document_validation import faults
from devices.configurations.documents import differences, normalised
from devices.configurations.errors import (
    ConfigurationChanged,
    InvalidDocument,
    InvalidOrder,
    InvalidSubject,
    NoSuchVersion,
)
from devices.configurations.events import ConfigurationReordered, ConfigurationSaved
from devices.configurations.models import (
    AnyLayer,
    ConfigurationVersion,
    DeviceConfiguration,
    PlatformConfiguration,
    PlatformConfigurationVersion,
    Scope,
)
from devices.configurations.services import effective, recalculation
from devices.registry.models import Device, Tag
from events.domain_events import Changes
from events.services.outbox import record
from tenants.context import current_caller, current_tenant_id, every_tenant_scope

LONGEST_NOTE = 500


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a layer is for."""

    scope: str
    tag: Tag | None = None
    device: Device | None = None

    def checked(self) -> "Subject":
        """
        Raises:
            InvalidSubject: it is nobody, or two at once.
        """
        wanted = {"tenant": None, "tag": "tag", "device": "device"}
        if self.scope not in wanted:
            raise InvalidSubject("A tenant, a tag or a device.", field="scope")
        for name in ("tag", "device"):
            there = getattr(self, name) is not None
            if there != (wanted[self.scope] == name):
                said = "Not with this scope." if there else f"For which {name}?"
                raise InvalidSubject(said, field=name)
        if self.device is not None and self.device.status == Device.Status.RETIRED:
            raise InvalidSubject("The device is retired.", field="device")
        return self


def checked(document: Any) -> dict[str, Any]:
    """A layer's document in its normal form.

    Raises:
        InvalidDocument: it says what cannot be.
    """
    if found := faults(document):
        raise InvalidDocument(found)
    normal: dict[str, Any] = normalised(document)
    return normal


def layer_of(subject: Subject) -> DeviceConfiguration | None:
    """The current tenant's layer for somebody, if there ever was one."""
    layers = DeviceConfiguration.objects.select_related("tag", "device")
    found: DeviceConfiguration | None = layers.filter(
        scope=subject.scope, tag=subject.tag, device=subject.device
    ).first()
    return found


@transaction.atomic
def save(
    *,
    subject: Subject,
    document: Any,
    note: str = "",
    based_on: int | None = None,
    restored_number: int | None = None,
    now: datetime,
) -> DeviceConfiguration:
    """A new version of a tenant's layer; the same document again is no new one.

    A document that says nothing takes the layer away, for whoever looks at devices.

    Args:
        based_on: the number of the version that the author has seen, 0 for none.

    Raises:
        InvalidSubject, InvalidDocument: see `Subject` and `checked`.
        ConfigurationChanged: somebody else has saved it since.
    """
    subject.checked()
    document = checked(document)
    is_first = not DeviceConfiguration.objects.saying_something().exists()
    layer = _held(subject, now)
    changes = _write(layer, document, note, based_on, restored_number, now)
    if changes is None:
        return layer
    whose = {"tenant_id": layer.tenant_id, "device_id": layer.device_id}
    tag = subject.tag.name if subject.tag else None
    record([_saved(layer, changes, note, restored_number, now, tag=tag, **whose)])
    # The round first and the turn after it, as the worker takes them.
    if is_first:  # also the devices that it is not for are told that there is nothing
        recalculation.ask(now=now)
    elif subject.device is None:
        recalculation.ask(tag=subject.tag, now=now)
    if subject.device is not None:
        effective.refresh([subject.device.pk], now=now)
    return layer


@transaction.atomic
def save_platform(
    *,
    document: Any,
    note: str = "",
    based_on: int | None = None,
    restored_number: int | None = None,
    now: datetime,
) -> PlatformConfiguration:
    """A new version of the layer below every tenant's; see `save`."""
    document = checked(document)
    PlatformConfiguration.objects.bulk_create(
        [PlatformConfiguration(updated_at=now)], ignore_conflicts=True
    )
    layer = PlatformConfiguration.objects.select_for_update().get()
    changes = _write(layer, document, note, based_on, restored_number, now)
    if changes is None:
        return layer
    fact = _saved(layer, changes, note, restored_number, now, tag=None, tenant_id=None)
    with every_tenant_scope():
        record([fact])
    recalculation.ask_everybody(now=now)
    return layer


def restore(
    *, layer: AnyLayer, number: int, based_on: int | None = None, now: datetime
) -> AnyLayer:
    """Bring an earlier version back, as a new one.

    Raises:
        NoSuchVersion: there is none of this number.
        InvalidDocument: it says what was allowed then and is not now.
        ConfigurationChanged: see `save`.
    """
    version = layer.versions.filter(number=number).first()
    if version is None:
        raise NoSuchVersion
    said: dict[str, Any] = {
        "document": version.document,
        "note": f"Version {number} again",
        "based_on": based_on,
        "restored_number": number,
        "now": now,
    }
    if isinstance(layer, PlatformConfiguration):
        return save_platform(**said)
    return save(subject=subject_of(layer), **said)


@transaction.atomic
def put_in_order(*, tags: Sequence[str], now: datetime) -> list[DeviceConfiguration]:
    """Say which tag's layer is stronger than which: the last is the strongest.

    Raises:
        InvalidOrder: a tag is named twice, has no configuration, or is left out.
    """
    in_turn(f"order of configurations of {current_tenant_id()}")
    layers = list(DeviceConfiguration.objects.of_tags().select_related("tag"))
    named = {layer.tag.name: layer for layer in layers if layer.tag}
    for place, name in enumerate(tags):
        if name not in named:
            said = "There is no such tag, or it has no configuration."
            raise InvalidOrder(said, field=f"tags.{place}")
        if name in tags[:place]:
            raise InvalidOrder("It is in the order twice.", field=f"tags.{place}")
    if left_out := sorted(set(named) - set(tags)):
        raise InvalidOrder(f"{left_out[0]} is left out.", field="tags")
    before = [layer.tag.name for layer in layers if layer.tag]
    if before == list(tags):
        return layers
    ordered = [named[name] for name in tags]
    for rank, layer in enumerate(ordered, start=_next_rank()):  # none is taken
        layer.rank = rank
    DeviceConfiguration.objects.bulk_update(ordered, ["rank"])
    about: dict[str, Any] = {"tenant_id": current_tenant_id(), "at": now}
    record([ConfigurationReordered(**about, changes={"tags": (before, list(tags))})])
    recalculation.ask(now=now)
    return ordered


def subject_of(layer: DeviceConfiguration) -> Subject:
    return Subject(layer.scope, layer.tag, layer.device)


def _held(subject: Subject, now: datetime) -> DeviceConfiguration:
    """The layer's row, made if it is the first time, and ours until the commit."""
    rank = None
    if subject.scope == Scope.TAG and layer_of(subject) is None:
        in_turn(f"order of configurations of {current_tenant_id()}")
        rank = _next_rank()
    whose = {"scope": subject.scope, "tag": subject.tag, "device": subject.device}
    if subject.scope != Scope.TAG or rank is not None:
        DeviceConfiguration.objects.bulk_create(
            [DeviceConfiguration(**whose, rank=rank, updated_at=now)],
            ignore_conflicts=True,
        )
    held = DeviceConfiguration.objects.select_for_update(of=("self",))
    return held.select_related("tag", "device").get(**whose)


def _next_rank() -> int:
    """Above every tag's, for whoever has the turn to change the order."""
    highest = DeviceConfiguration.objects.aggregate(highest=Max("rank"))["highest"]
    return (highest or 0) + 1


def _write(
    layer: AnyLayer,
    document: dict[str, Any],
    note: str,
    based_on: int | None,
    restored_number: int | None,
    now: datetime,
) -> dict[str, tuple[Any, Any]] | None:
    """The next version of a held layer; what it changes, None if it changes nothing."""
    if based_on is not None and based_on != layer.number:
        raise ConfigurationChanged(layer.number)
    found = differences(layer.document, document)
    if not found:
        return None
    layer.number += 1
    layer.document, layer.updated_at = document, now
    layer.save(update_fields=["number", "document", "updated_at"])
    caller = current_caller()
    make: Callable[..., Any] = (
        PlatformConfigurationVersion.objects.create
        if isinstance(layer, PlatformConfiguration)
        else ConfigurationVersion.objects.create
    )
    make(
        configuration=layer,
        number=layer.number,
        document=document,
        note=note,
        author_name=caller.name or caller.kind,
        saved_at=now,
        restored_number=restored_number,
    )
    return {
        item.key: (
            _told(item.before, is_said=item.was_said),
            _told(item.after, is_said=item.is_said),
        )
        for item in found
    }


def _saved(
    layer: AnyLayer,
    changes: Changes,
    note: str,
    restored_number: int | None,
    now: datetime,
    **whose: Any,
) -> ConfigurationSaved:
    return ConfigurationSaved(
        at=now,
        scope=layer.scope,
        number=layer.number,
        note=note,
        restored_number=restored_number,
        changes=changes,
        **whose,
    )


def _told(value: Any, *, is_said: bool) -> Any:
    """As the audit log has it, where None is that nothing was said."""
    return "null" if is_said and value is None else value
