"""Calculation of each device's effective configuration from its layers.

Many devices have the same layers. A document is calculated once per combination of
layers and identified by the hash of its content.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from core.locks import transaction_lock, try_transaction_lock
from devices.configurations.documents import EMPTY_VERSION, MergedDocument, merge_layers
from devices.configurations.extension_points import keys_set_by_server
from devices.configurations.models import (
    DeviceConfiguration,
    EffectiveDocument,
    PlatformConfiguration,
    ReportedConfiguration,
    Scope,
)
from devices.registry import next_steps
from devices.registry.models import Device, DeviceTag, Site
from tenants.context import current_tenant_id

SERVER_LABEL = "This server"  # the source of keys that no operator can set
# The ids of the layers of a device's sites, of its tags and of the device itself, the weakest
# first.
Layers = tuple[UUID, ...]
# The time zone of a device's site, or "", and the layers of the device.
Combination = tuple[str, Layers]


@dataclass(frozen=True, slots=True)
class Source:
    """A layer, described as the source of a key."""

    scope: str
    label: str
    configuration_id: UUID | None
    number: int


def explain(device: Device) -> tuple[MergedDocument[Source], list[tuple[Source, Any]]]:
    """Merge a device's layers.

    Returns:
        The merged document with the source of each key, and the layers, the weakest first. The
        time zone of the device's site counts as the weakest layer.
    """
    layers = [(_source(layer), layer.document) for layer in layers_of(device) if layer.number]
    server = Source(Scope.PLATFORM.value, SERVER_LABEL, None, 0)
    if zone := _time_zones(_site_paths([device.pk])).get(device.pk):
        fallback = Source(Scope.SITE.value, f"Time zone of {device.site}", None, 0)
        layers = [(fallback, document_of_zone(zone)), *layers]
    return merge_layers([*layers, (server, _server_keys())]), layers


def layers_of(device: Device) -> list[PlatformConfiguration | DeviceConfiguration]:
    """Return the layers that apply to a device, the weakest first."""
    tags = DeviceTag.objects.filter(device=device).values("tag")
    layers = DeviceConfiguration.objects.select_related("tag", "device", "site")
    return [
        *PlatformConfiguration.objects.all(),
        *layers.filter(scope=Scope.TENANT),
        *(layers_of_sites(device.site) if device.site else ()),
        *layers.of_tags().filter(tag__in=tags),
        *layers.filter(device=device),
    ]


def layers_of_sites(site: Site) -> list[DeviceConfiguration]:
    """Return the layers of a site and of the sites that it is in, the weakest first."""
    layers = DeviceConfiguration.objects.select_related("site").filter(site__in=site.path)
    by_site = {layer.site_id: layer for layer in layers}
    return [by_site[pk] for pk in site.path if pk in by_site]


def _source(layer: PlatformConfiguration | DeviceConfiguration) -> Source:
    return Source(
        scope=layer.scope,
        label=str(layer),
        configuration_id=layer.pk if isinstance(layer, DeviceConfiguration) else None,
        number=layer.number,
    )


def platform_document() -> dict[str, Any]:
    """Return the document of the platform's layer, {} if there is no such layer."""
    documents = PlatformConfiguration.objects.values_list("document", flat=True)
    return documents.first() or {}


def tenant_document() -> dict[str, Any]:
    """Return the document of the current tenant's own layer, {} if there is no such layer."""
    layers = DeviceConfiguration.objects.filter(scope=Scope.TENANT)
    return layers.values_list("document", flat=True).first() or {}


def document_of(version: str) -> dict[str, Any] | None:
    """Return the document of a version, None if the current tenant has no such version."""
    if version == EMPTY_VERSION:
        return {}
    rows = EffectiveDocument.objects.filter(version=version)
    return rows.values_list("document", flat=True).first()


def lock_calculation(*, wait: bool = True) -> bool:
    """Lock the calculation of the current tenant's documents until the commit.

    Args:
        wait: if False, return False at once when the lock is not free.
    """
    subject = f"effective configurations of {current_tenant_id()}"
    if not wait:
        return try_transaction_lock(subject)
    transaction_lock(subject)
    return True


@transaction.atomic
def refresh(
    device_ids: Collection[UUID], *, write_empty: bool = False, wait: bool = True, now: datetime
) -> int:
    """Recalculate the effective configurations of some of the tenant's devices.

    The calculation holds a lock until the commit, so that only one transaction per tenant
    calculates at a time. A result from older layers can therefore not overwrite a result from newer
    layers. Only changed versions are written.

    Args:
        write_empty: also assign the empty version to new devices without layers.
        wait: if False, do nothing when the lock is not free.

    Returns:
        The number of devices whose version changed.
    """
    if not lock_calculation(wait=wait):
        return 0
    living = Device.objects.not_retired().filter(pk__in=device_ids)
    ids = list(living.order_by("pk").values_list("pk", flat=True))
    if not ids:
        return 0
    combinations = combinations_of(ids)
    calculated = _calculate(set(combinations.values()))
    locked = next_steps.lock(ids)
    before = {pk: steps.configuration_version for pk, steps in locked.items()}
    changed: dict[UUID, str] = {}
    for pk in ids:
        version, _ = calculated[combinations[pk]]
        if version != (before.get(pk) or ("" if write_empty else EMPTY_VERSION)):
            changed[pk] = version
    if changed:
        documents = dict(calculated.values())
        _store({name: documents[name] for name in set(changed.values())}, now)
        _update_wanted_at({before.get(pk) for pk in changed}, now)
        _assign(changed, now)
    return len(changed)


def has_applied(report: ReportedConfiguration | None, version: str) -> bool:
    """Return True if a device has applied a version according to its last report.

    A device that has never reported has applied the empty version.
    """
    if report is None:
        return version == EMPTY_VERSION
    failed = report.outcome == ReportedConfiguration.Outcome.FAILED
    if failed and report.version == version:
        return False
    return (report.applied_version or EMPTY_VERSION) == version


def stop_waiting(device_id: UUID, now: datetime) -> None:
    """Record that a device does not wait for a configuration, because it is being retired."""
    next_steps.stop_waiting_for_configuration(device_id)


def combinations_of(device_ids: Sequence[UUID]) -> dict[UUID, Combination]:
    """Return what determines the document of each device."""
    own, zones = _own_layers(device_ids), _time_zones(_site_paths(device_ids))
    return {pk: (zones.get(pk, ""), own.get(pk, ())) for pk in device_ids}


def _own_layers(device_ids: Sequence[UUID]) -> dict[UUID, Layers]:
    """Return the ids of the non-empty layers of each device, its tags and sites, by device id."""
    layers: dict[UUID, Layers] = {}
    not_empty = DeviceConfiguration.objects.not_empty()
    site_layers = dict(not_empty.filter(scope=Scope.SITE).order_by().values_list("site", "pk"))
    if site_layers:
        for pk, path in _site_paths(device_ids).items():
            layers[pk] = tuple(site_layers[site] for site in path if site in site_layers)
    tag_layers = {
        tag: (rank or 0, pk)
        for tag, pk, rank in not_empty.of_tags().values_list("tag_id", "pk", "rank")
    }
    if tag_layers:
        ranked: dict[UUID, list[tuple[int, UUID]]] = {}
        tags = DeviceTag.objects.filter(device__in=device_ids, tag__in=tag_layers)
        for pk, tag in tags.order_by().values_list("device_id", "tag_id"):
            ranked.setdefault(pk, []).append(tag_layers[tag])
        for pk, pairs in ranked.items():
            layers[pk] = (*layers.get(pk, ()), *(layer for _, layer in sorted(pairs)))
    device_layers = not_empty.filter(device__in=device_ids).order_by()
    for pk, layer in device_layers.values_list("device_id", "pk"):
        layers[pk] = (*layers.get(pk, ()), layer)
    return layers


def documents_of(layers: Iterable[UUID]) -> dict[UUID, Any]:
    """Return the documents of the given layers of the current tenant, by the layer's id."""
    rows = DeviceConfiguration.objects.filter(pk__in=set(layers)).order_by()
    return dict(rows.values_list("pk", "document"))


def _site_paths(device_ids: Sequence[UUID]) -> dict[UUID, list[UUID]]:
    """Return the ids of the sites of each device from the top level, for devices at a site."""
    devices = Device.objects.filter(pk__in=device_ids, site__isnull=False).order_by()
    return dict(devices.values_list("pk", "site__path"))


def _time_zones(site_paths: Mapping[UUID, list[UUID]]) -> dict[UUID, str]:
    """Return the time zone of each device's site, or of the nearest site above it that has one."""
    ids = {site for path in site_paths.values() for site in path}
    rows = Site.objects.filter(pk__in=ids).exclude(time_zone="").order_by()
    zones = dict(rows.values_list("pk", "time_zone")) if ids else {}
    found = {pk: [zones[site] for site in path if site in zones] for pk, path in site_paths.items()}
    return {pk: names[-1] for pk, names in found.items() if names}


def document_of_zone(zone: str) -> dict[str, Any]:
    """Return what applies to a device at a site if no layer sets a time zone."""
    return {"time_zone": zone} if zone else {}


def _calculate(combinations: set[Combination]) -> dict[Combination, tuple[str, dict[str, Any]]]:
    """Return the version and the merged document of each combination of time zone and layers.

    The platform's and the tenant's layers override the time zone of the site. Each combination
    overrides these layers. The keys set by the server override all layers.
    """
    base = [("", platform_document()), ("", tenant_document())]
    server = ("", _server_keys())
    documents = documents_of(pk for _, layers in combinations for pk in layers)
    calculated = {}
    for zone, layers in combinations:
        own = [("", documents[pk]) for pk in layers]
        merged = merge_layers([("", document_of_zone(zone)), *base, *own, server])
        calculated[zone, layers] = merged.version, merged.document
    return calculated


def _server_keys() -> dict[str, Any]:
    tenant_id = current_tenant_id()
    return {} if tenant_id is None else keys_set_by_server().get(tenant_id, {})


def _store(documents: dict[str, dict[str, Any]], now: datetime) -> None:
    EffectiveDocument.objects.bulk_create(
        [
            EffectiveDocument(version=version, document=document, wanted_at=now)
            for version, document in sorted(documents.items())
        ],
        update_conflicts=True,
        unique_fields=["tenant", "version"],
        update_fields=["wanted_at"],
    )


def _update_wanted_at(versions: set[str | None], now: datetime) -> None:
    """Start the retention time of the devices' previous versions."""
    previous = [version for version in versions if version]
    EffectiveDocument.objects.filter(version__in=previous).update(wanted_at=now)


def _assign(changed: dict[UUID, str], now: datetime) -> None:
    """Write each device's new version, and since when the device waits, to `NextSteps`."""
    reports = ReportedConfiguration.objects.in_bulk(changed)
    next_steps.write_configurations(
        {
            pk: (version, None if has_applied(reports.get(pk), version) else now)
            for pk, version in changed.items()
        }
    )
