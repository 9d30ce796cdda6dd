"""Save, restore and order the configuration layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Max

from core.locks import transaction_lock
from core.querysets import first_or_raise
from devices.configurations.document_validation import find_faults
from devices.configurations.documents import differences, normalise
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
from devices.registry.models import Device, Site, Tag
from devices.registry.services.sites import require_site
from events.domain_events import Changes
from events.services.outbox import record
from tenants.context import current_caller, current_tenant_id, every_tenant_scope

MAX_NOTE_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Subject:
    """The devices that a layer applies to: all, those at a site or with a tag, or one device."""

    scope: str
    tag: Tag | None = None
    device: Device | None = None
    site: Site | None = None

    def validate(self) -> None:
        """Check that the site, tag and device match the scope.

        Raises:
            InvalidSubject: the scope is unknown, the site, tag or device is missing or not
                allowed with the scope, or the device is retired.
        """
        subjects = ("site", "tag", "device")
        if self.scope not in ("tenant", *subjects):
            raise InvalidSubject("The scope must be tenant, site, tag or device.", field="scope")
        for name in subjects:
            is_given = getattr(self, name) is not None
            if is_given != (self.scope == name):
                raise InvalidSubject(
                    f"A {name} is not allowed with the scope {self.scope}."
                    if is_given
                    else f"A {name} is required with the scope {self.scope}.",
                    field=name,
                )
        if self.device is not None and self.device.status == Device.Status.RETIRED:
            raise InvalidSubject("The device is retired.", field="device")


def validated(document: Any) -> dict[str, Any]:
    """Validate a layer's document and return it normalised.

    Raises:
        InvalidDocument: the document has errors.
    """
    if faults := find_faults(document):
        raise InvalidDocument(faults)
    normalised: dict[str, Any] = normalise(document)
    return normalised


def layer_of(subject: Subject) -> DeviceConfiguration | None:
    """Return the current tenant's layer of a subject, None if there is no such layer."""
    layers = DeviceConfiguration.objects.select_related("tag", "device", "site")
    return layers.filter(**_columns(subject)).first()


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
    """Save a new version of a tenant's layer.

    Saving an unchanged document creates no version. Saving an empty document removes
    the layer's effect on devices.

    Args:
        based_on: the number of the version that the change is based on; 0 if the layer has
            no version. If None, concurrent changes are overwritten.

    Raises:
        InvalidSubject, InvalidDocument: see `Subject.validate` and `validated`.
        ConfigurationChanged: the number of the layer's version is not `based_on`.
    """
    subject.validate()
    require_site(subject.site)
    document = validated(document)
    is_first = not DeviceConfiguration.objects.not_empty().exists()
    layer = _lock_layer(subject, now)
    changes = _write(layer, document, note, based_on, restored_number, now)
    if changes is None:
        return layer
    ids = {"tenant_id": layer.tenant_id, "device_id": layer.device_id}
    names = {
        "tag": subject.tag.name if subject.tag else None,
        "site": subject.site.name if subject.site else None,
    }
    record([_saved_event(layer, changes, note, restored_number, now, **names, **ids)])
    # Request the round before locking the calculation. The worker uses the same order;
    # the opposite order could deadlock.
    if is_first:  # the round assigns the empty version to other devices
        recalculation.request(now=now)
    elif subject.device is None:
        recalculation.request(tag=subject.tag, site=subject.site, now=now)
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
    """Save a new version of the platform's layer. See `save`."""
    document = validated(document)
    PlatformConfiguration.objects.bulk_create(
        [PlatformConfiguration(updated_at=now)], ignore_conflicts=True
    )
    layer = PlatformConfiguration.objects.select_for_update().get()
    changes = _write(layer, document, note, based_on, restored_number, now)
    if changes is None:
        return layer
    event = _saved_event(layer, changes, note, restored_number, now, tag=None, tenant_id=None)
    with every_tenant_scope():
        record([event])
    recalculation.request_for_all_tenants(now=now)
    return layer


def restore(
    *, layer: AnyLayer, number: int, based_on: int | None = None, now: datetime
) -> AnyLayer:
    """Save an earlier version's document as a new version.

    Raises:
        NoSuchVersion: the layer has no version with this number.
        InvalidDocument: the old document is not valid any more.
        ConfigurationChanged: see `save`.
    """
    version = first_or_raise(layer.versions.filter(number=number), NoSuchVersion)
    values: dict[str, Any] = {
        "document": version.document,
        "note": f"Restored version {number}",
        "based_on": based_on,
        "restored_number": number,
        "now": now,
    }
    if isinstance(layer, PlatformConfiguration):
        return save_platform(**values)
    return save(subject=subject_of(layer), **values)


@transaction.atomic
def put_in_order(*, tags: Sequence[str], now: datetime) -> list[DeviceConfiguration]:
    """Set the order of the tags' layers. The last tag is the strongest.

    Args:
        tags: the names of all tags that have a configuration.

    Raises:
        InvalidOrder: a tag is listed twice, has no configuration, or is missing.
    """
    transaction_lock(f"order of configurations of {current_tenant_id()}")
    layers = list(DeviceConfiguration.objects.of_tags().select_related("tag"))
    by_name = {layer.tag.name: layer for layer in layers if layer.tag}
    for index, name in enumerate(tags):
        if name not in by_name:
            raise InvalidOrder(
                f"There is no tag {name} with a configuration.", field=f"tags.{index}"
            )
        if name in tags[:index]:
            raise InvalidOrder(f"The tag {name} is listed twice.", field=f"tags.{index}")
    if missing := sorted(set(by_name) - set(tags)):
        raise InvalidOrder(f"The tag {missing[0]} is missing.", field="tags")
    before = [layer.tag.name for layer in layers if layer.tag]
    if before == list(tags):
        return layers
    ordered = [by_name[name] for name in tags]
    # Ranks are unique. The new ranks therefore start above all existing ranks.
    for rank, layer in enumerate(ordered, start=_next_rank()):
        layer.rank = rank
    DeviceConfiguration.objects.bulk_update(ordered, ["rank"])
    event = ConfigurationReordered(
        tenant_id=current_tenant_id(), at=now, changes={"tags": (before, list(tags))}
    )
    record([event])
    recalculation.request(now=now)
    return ordered


def subject_of(layer: DeviceConfiguration) -> Subject:
    return Subject(layer.scope, layer.tag, layer.device, layer.site)


def _columns(subject: Subject) -> dict[str, Any]:
    """Return the columns of `DeviceConfiguration` that identify the layer of a subject."""
    return {name: getattr(subject, name) for name in ("scope", "site", "tag", "device")}


def _lock_layer(subject: Subject, now: datetime) -> DeviceConfiguration:
    """Lock a layer's row until the commit. Create the row if it does not exist."""
    rank = None
    if subject.scope == Scope.TAG and layer_of(subject) is None:
        transaction_lock(f"order of configurations of {current_tenant_id()}")
        rank = _next_rank()
    fields = _columns(subject)
    if subject.scope != Scope.TAG or rank is not None:
        DeviceConfiguration.objects.bulk_create(
            [DeviceConfiguration(**fields, rank=rank, updated_at=now)], ignore_conflicts=True
        )
    locking = DeviceConfiguration.objects.select_for_update(of=("self",))
    return locking.select_related("tag", "device", "site").get(**fields)


def _next_rank() -> int:
    """Return a rank above the ranks of all tags. The caller must hold the lock of the order."""
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
    """Write the next version of a locked layer. Return the changes, None if no key changed."""
    if based_on is not None and based_on != layer.number:
        raise ConfigurationChanged(layer.number)
    changed_keys = differences(layer.document, document)
    if not changed_keys:
        return None
    layer.number += 1
    layer.document, layer.updated_at = document, now
    layer.save(update_fields=["number", "document", "updated_at"])
    caller = current_caller()
    create = (
        PlatformConfigurationVersion.objects.create
        if isinstance(layer, PlatformConfiguration)
        else ConfigurationVersion.objects.create
    )
    create(
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
            _audit_value(item.before, is_set=item.was_set),
            _audit_value(item.after, is_set=item.is_set),
        )
        for item in changed_keys
    }


def _saved_event(
    layer: AnyLayer,
    changes: Changes,
    note: str,
    restored_number: int | None,
    now: datetime,
    **fields: Any,
) -> ConfigurationSaved:
    return ConfigurationSaved(
        at=now,
        scope=layer.scope,
        number=layer.number,
        note=note,
        restored_number=restored_number,
        changes=changes,
        **fields,
    )


def _audit_value(value: Any, *, is_set: bool) -> Any:
    """Return a value for the audit log. In the log, None means that the key is not set."""
    return "null" if is_set and value is None else value
