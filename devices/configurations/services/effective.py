"""What each device should have: all its layers laid over each other.

Very many devices have the same: a document is worked out once for all that have the
same layers, and known by the hash of what it says.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from core.locks import in_turn, in_turn_if_free
from devices.configurations.documents import NOTHING, Effective, layered
from devices.configurations.extension_points import keys_set_by_server
from devices.configurations.models import (
    DeviceConfiguration,
    EffectiveDocument,
    PlatformConfiguration,
    ReportedConfiguration,
    Scope,
)
from devices.registry import next_steps
from devices.registry.models import Device, DeviceTag
from tenants.context import current_tenant_id

HOUSE = "This server"  # as what sets keys that no operator can set
Layers = tuple[UUID, ...]  # those of tags and of the device itself, the weakest first


@dataclass(frozen=True, slots=True)
class Source:
    """A layer, as what sets a key is named."""

    scope: str
    label: str
    configuration_id: UUID | None
    number: int


def explain(device: Device) -> tuple[Effective[Source], list[tuple[Source, Any]]]:
    """What a device should have with where each key is from, and its layers in order."""
    layers = [
        (_source(layer), layer.document) for layer in layers_of(device) if layer.number
    ]
    house = Source(Scope.PLATFORM.value, HOUSE, None, 0)
    return layered([*layers, (house, keys_set_by_server())]), layers


def layers_of(device: Device) -> list[PlatformConfiguration | DeviceConfiguration]:
    """The layers that are for a device, the weakest first."""
    worn = DeviceTag.objects.filter(device=device).values("tag")
    mine = DeviceConfiguration.objects.select_related("tag", "device")
    return [
        *PlatformConfiguration.objects.all(),
        *mine.filter(scope=Scope.TENANT),
        *mine.of_tags().filter(tag__in=worn),
        *mine.filter(device=device),
    ]


def _source(layer: PlatformConfiguration | DeviceConfiguration) -> Source:
    return Source(
        scope=layer.scope,
        label=str(layer),
        configuration_id=layer.pk if isinstance(layer, DeviceConfiguration) else None,
        number=layer.number,
    )


def platform_says() -> dict[str, Any]:
    found = PlatformConfiguration.objects.values_list("document", flat=True)
    return found.first() or {}


def tenant_says() -> dict[str, Any]:
    """What holds for all devices of the current tenant."""
    found = DeviceConfiguration.objects.filter(scope=Scope.TENANT)
    said: dict[str, Any] = found.values_list("document", flat=True).first() or {}
    return said


def document_of(version: str) -> dict[str, Any] | None:
    """What a version says; None if it is of no device of the current tenant."""
    if version == NOTHING:
        return {}
    found = EffectiveDocument.objects.filter(version=version)
    document: dict[str, Any] | None = found.values_list("document", flat=True).first()
    return document


def take_turn(*, wait: bool = True) -> bool:
    """Be the one who works out the current tenant's documents, up to the commit."""
    subject = f"effective configurations of {current_tenant_id()}"
    if not wait:
        return in_turn_if_free(subject)
    in_turn(subject)
    return True


@transaction.atomic
def refresh(
    device_ids: Collection[UUID],
    *,
    even_nothing: bool = False,
    wait: bool = True,
    now: datetime,
) -> int:
    """Work out anew what some of the tenant's devices should have; how many changed.

    One at a time for a tenant, up to the commit: so nobody overwrites what was worked
    out from newer layers. What has not changed is not written.

    Args:
        even_nothing: write also that a device for which no layer says anything should
            have nothing.
        wait: for one's turn; else nothing is done when it is somebody else's.
    """
    if not take_turn(wait=wait):
        return 0
    living = Device.objects.living().filter(pk__in=device_ids)
    ids = list(living.order_by("pk").values_list("pk", flat=True))
    if not ids:
        return 0
    own = own_layers(ids)
    worked_out = _worked_out({own.get(pk, ()) for pk in ids})
    locked = next_steps.lock(ids)
    before = {pk: steps.configuration_version for pk, steps in locked.items()}
    changed: dict[UUID, str] = {}
    for pk in ids:
        version, _ = worked_out[own.get(pk, ())]
        if version != (before.get(pk) or ("" if even_nothing else NOTHING)):
            changed[pk] = version
    if changed:
        documents = dict(worked_out.values())
        _keep({name: documents[name] for name in set(changed.values())}, now)
        _note_last_wanted({before.get(pk) for pk in changed}, now)
        _announce(changed, now)
    return len(changed)


def has_applied(report: ReportedConfiguration | None, version: str) -> bool:
    """Whether a device has a version, as far as it has said; without a word: nothing."""
    if report is None:
        return version == NOTHING
    failed = report.outcome == ReportedConfiguration.Outcome.FAILED
    if failed and report.version == version:
        return False
    return (report.applied_version or NOTHING) == version


def let_go(device_id: UUID, now: datetime) -> None:
    """A device that is retired waits for nothing any more."""
    next_steps.stop_waiting_for_configuration(device_id)


def own_layers(device_ids: Sequence[UUID]) -> dict[UUID, Layers]:
    """The layers of the devices' tags and their own that say something, by device."""
    found: dict[UUID, Layers] = {}
    saying = DeviceConfiguration.objects.saying_something()
    ranked = list(saying.of_tags().values_list("tag_id", "pk", "rank"))
    places = {tag: (rank or 0, pk) for tag, pk, rank in ranked}
    if places:
        worn: dict[UUID, list[tuple[int, UUID]]] = {}
        tags = DeviceTag.objects.filter(device__in=device_ids, tag__in=places)
        for pk, tag in tags.order_by().values_list("device_id", "tag_id"):
            worn.setdefault(pk, []).append(places[tag])
        found = {
            pk: tuple(layer for _, layer in sorted(all)) for pk, all in worn.items()
        }
    mine = saying.filter(device__in=device_ids).order_by()
    for pk, layer in mine.values_list("device_id", "pk"):
        found[pk] = (*found.get(pk, ()), layer)
    return found


def documents_of(layers: Iterable[UUID]) -> dict[UUID, Any]:
    found = DeviceConfiguration.objects.filter(pk__in=set(layers)).order_by()
    return dict(found.values_list("pk", "document"))


def _worked_out(combinations: set[Layers]) -> dict[Layers, tuple[str, dict[str, Any]]]:
    """The version and the document of each combination of layers on the tenant's base."""
    ground = [("", platform_says()), ("", tenant_says())]
    house = ("", keys_set_by_server())
    documents = documents_of(pk for layers in combinations for pk in layers)
    made = {}
    for layers in combinations:
        effective = layered([*ground, *(("", documents[pk]) for pk in layers), house])
        made[layers] = effective.version, effective.document
    return made


def _keep(documents: dict[str, dict[str, Any]], now: datetime) -> None:
    EffectiveDocument.objects.bulk_create(
        [
            EffectiveDocument(version=version, document=document, wanted_at=now)
            for version, document in sorted(documents.items())
        ],
        update_conflicts=True,
        unique_fields=["tenant", "version"],
        update_fields=["wanted_at"],
    )


def _note_last_wanted(versions: set[str | None], now: datetime) -> None:
    """They were wanted up to now: from now on it counts how long they are kept."""
    named = [version for version in versions if version]
    EffectiveDocument.objects.filter(version__in=named).update(wanted_at=now)


def _announce(changed: dict[UUID, str], now: datetime) -> None:
    """Write what the devices should have, and since when they wait for it."""
    reports = ReportedConfiguration.objects.in_bulk(changed)
    next_steps.write_configurations(
        {
            pk: (version, None if has_applied(reports.get(pk), version) else now)
            for pk, version in changed.items()
        }
    )
