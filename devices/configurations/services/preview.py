"""Preview of a save: which devices would change, and in which keys.

Devices with the same layers change in the same way. Each combination of layers is
therefore calculated once, however many devices have it.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from uuid import UUID

from django.db import connection

from devices.configurations.documents import Difference, differences, merge_layers
from devices.configurations.models import DeviceConfiguration, Scope
from devices.configurations.services import effective
from devices.configurations.services.effective import Combination
from devices.configurations.services.layers import Subject, layer_of, validated
from devices.registry.models import Device
from devices.registry.services.sites import ids_below
from devices.registry.services.tags import device_names
from tenants.context import current_tenant_id, tenant_scope
from tenants.models import Tenant

MAX_TENANTS = 500  # tenants examined in a preview of the platform's layer
MAX_COMBINATIONS = 20_000  # of layers; if there are more, the preview is incomplete
MAX_LISTED = 100  # devices in one response
STEP = 2_000  # devices examined in one step to fill the list
MAX_STEPS = 50  # steps for one response; the next response continues the list
CHUNK = 1_000  # combinations whose documents are in memory at the same time

# Select the combinations of the site's time zone with site, tag and device layers, the number
# of devices with each combination, and the number of all devices.
COMBINATIONS = """
    SELECT zone, layers, count(*), sum(count(*)) OVER () FROM (
        SELECT coalesce(placed.zone, ''), coalesce(placed.layers, '{}') || coalesce(tagged.layers, '{}')
            || coalesce(own.layers, '{}')
        FROM devices_device device
        LEFT JOIN (
            SELECT site.id, (
                SELECT above.time_zone FROM devices_site above
                WHERE above.id = ANY (site.path) AND above.time_zone <> ''
                ORDER BY array_position(site.path, above.id) DESC LIMIT 1
            ), (
                SELECT array_agg(layer.id ORDER BY array_position(site.path, layer.site_id))
                FROM configurations_deviceconfiguration layer
                WHERE layer.site_id = ANY (site.path) AND layer.document <> '{}'
            )
            FROM devices_site site WHERE site.tenant_id = %(tenant)s
        ) placed (site_id, zone, layers) ON placed.site_id = device.site_id
        LEFT JOIN (
            SELECT device_tag.device_id, array_agg(layer.id ORDER BY layer.rank)
            FROM devices_devicetag device_tag
            JOIN configurations_deviceconfiguration layer
                ON layer.tag_id = device_tag.tag_id
            WHERE layer.tenant_id = %(tenant)s AND layer.document <> '{}'
            GROUP BY device_tag.device_id
        ) tagged (device_id, layers) ON tagged.device_id = device.id
        LEFT JOIN (
            SELECT layer.device_id, ARRAY[layer.id]
            FROM configurations_deviceconfiguration layer
            WHERE layer.tenant_id = %(tenant)s AND layer.document <> '{}'
        ) own (device_id, layers) ON own.device_id = device.id
        WHERE device.tenant_id = %(tenant)s AND device.status <> 'retired'
            AND (%(tag)s IS NULL OR EXISTS (
                SELECT FROM devices_devicetag device_tag
                WHERE device_tag.device_id = device.id
                    AND device_tag.tag_id = %(tag)s))
            AND (%(sites)s::uuid[] IS NULL OR device.site_id = ANY (%(sites)s))
    ) combinations (zone, layers) GROUP BY zone, layers
    ORDER BY count(*) DESC, zone, layers LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class ChangedDevice:
    """A device that would change, with the differences."""

    device_id: UUID
    name: str
    changes: list[Difference]


@dataclass(slots=True)
class Preview:
    """The devices and keys that would change if a document were saved.

    `complete` is False if there are more combinations of layers, or more tenants, than
    are examined. The numbers are then lower bounds.
    """

    looked_at: int = 0  # devices that the layer applies to
    changing: int = 0  # devices that would change
    complete: bool = True
    keys: Counter[str] = field(default_factory=Counter)  # number of changing devices by key
    devices: list[ChangedDevice] = field(default_factory=list)
    next_after: UUID | None = None  # the last listed or examined device, if more follow


@dataclass(frozen=True, slots=True)
class _Proposal:
    """A document that would replace the present document of a layer."""

    subject: Subject
    document: dict[str, Any]
    layer: DeviceConfiguration | None
    base: list[Any]  # present documents of the platform's and the tenant's layers
    new_base: list[Any]
    ranks: dict[UUID, int]  # of tags' layers; 0 for sites' layers
    above: set[UUID]  # the layers of the sites that the subject is in

    def changes(self, combination: Combination, documents: dict[UUID, Any]) -> list[Difference]:
        zone = effective.document_of_zone(combination[0])
        own = [(pk, documents[pk]) for pk in combination[1]]
        before = [zone, *self.base, *(document for _, document in own)]
        if self.subject.scope in (Scope.SITE, Scope.TAG, Scope.DEVICE):
            own = self._replace_layer(own)
        after = [zone, *self.new_base, *(document for _, document in own)]
        merged_before, merged_after = (
            merge_layers([("", document) for document in documents])
            for documents in (before, after)
        )
        return differences(merged_before.document, merged_after.document)

    def _replace_layer(self, own: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        layer_id = self.layer.pk if self.layer else None
        others = [(pk, document) for pk, document in own if pk != layer_id]
        index = len(others)
        if self.subject.scope == Scope.SITE:
            index = sum(pk in self.above for pk, _ in others)
        elif self.subject.scope == Scope.TAG:
            rank = (self.layer.rank if self.layer else None) or sys.maxsize
            index = sum(self.ranks.get(pk, sys.maxsize) < rank for pk, _ in others)
        return [*others[:index], (layer_id, self.document), *others[index:]]


def preview(
    *, subject: Subject, document: Any, after: UUID | None = None, limit: int = MAX_LISTED
) -> Preview:
    """Calculate which devices would change if a document were saved as a subject's layer.

    Args:
        after: the id of the device after which the list of devices begins.
        limit: the maximum number of listed devices.

    Raises:
        InvalidSubject, InvalidDocument: see `layers.save`.
    """
    result = Preview()
    subject.validate()
    _add_tenant(result, _proposal(subject, validated(document)), after, limit)
    return result


def preview_platform(*, document: Any, limit: int = MAX_LISTED) -> Preview:
    """Calculate which devices would change if a document were saved as the platform's layer.

    Raises:
        InvalidDocument: see `layers.save`.
    """
    document, result = validated(document), Preview()
    tenants = list(Tenant.objects.order_by("slug")[: MAX_TENANTS + 1])
    result.complete = len(tenants) <= MAX_TENANTS
    for tenant in tenants[:MAX_TENANTS]:
        with tenant_scope(tenant.pk):
            proposal = _proposal(Subject(Scope.PLATFORM), document)
            _add_tenant(result, proposal, None, limit - len(result.devices))
    return result


def _proposal(subject: Subject, document: dict[str, Any]) -> _Proposal:
    not_empty = DeviceConfiguration.objects.not_empty().order_by()
    tag_ranks: Any = not_empty.of_tags().values_list("pk", "rank")
    sites = dict(not_empty.filter(scope=Scope.SITE).values_list("pk", "site"))
    above = subject.site.path if subject.site else ()
    platform, tenant = effective.platform_document(), effective.tenant_document()
    match subject.scope:
        case Scope.PLATFORM:
            new_base = [document, tenant]
        case Scope.TENANT:
            new_base = [platform, document]
        case _:
            new_base = [platform, tenant]
    return _Proposal(
        subject=subject,
        document=document,
        layer=layer_of(subject),
        base=[platform, tenant],
        new_base=new_base,
        ranks={**dict.fromkeys(sites, 0), **dict(tag_ranks)},
        above={pk for pk, site in sites.items() if site in above},
    )


def _add_tenant(result: Preview, proposal: _Proposal, after: UUID | None, limit: int) -> None:
    """Add the current tenant's devices to a preview."""
    rows = list(_combinations(proposal.subject))
    result.looked_at += rows[0][2] if rows else 0
    result.complete &= len(rows) <= MAX_COMBINATIONS
    combinations = {combination: count for combination, count, _ in rows[:MAX_COMBINATIONS]}
    changes: dict[Combination, list[Difference]] = {}
    remaining = iter(combinations)
    while chunk := list(islice(remaining, CHUNK)):
        documents = effective.documents_of(pk for _, layers in chunk for pk in layers)
        changes |= {item: proposal.changes(item, documents) for item in chunk}
    for combination, items in changes.items():
        result.keys.update({item.key: combinations[combination] for item in items})
    changing = sum(combinations[combination] for combination, items in changes.items() if items)
    result.changing += changing
    if changing and limit:
        _list_devices(result, proposal.subject, changes, after, limit)


def _combinations(subject: Subject) -> Iterator[tuple[Combination, int, int]]:
    """Yield the combinations of layers that the subject's devices have.

    Each result is a combination, the number of devices with this combination, and the
    number of all devices. The most frequent combinations come first. At most
    `MAX_COMBINATIONS` + 1 results are yielded.
    """
    if subject.device is not None:
        pk = subject.device.pk
        yield effective.combinations_of([pk])[pk], 1, 1
        return
    with connection.cursor() as cursor:
        cursor.execute(
            COMBINATIONS,
            {
                "tenant": str(current_tenant_id()),
                "tag": subject.tag.pk if subject.tag else None,
                "sites": ids_below(subject.site.pk) if subject.site else None,
                "limit": MAX_COMBINATIONS + 1,
            },
        )
        for zone, layers, count, total in cursor.fetchall():
            yield (zone, tuple(layers)), count, int(total)


def _list_devices(
    result: Preview,
    subject: Subject,
    changes: dict[Combination, list[Difference]],
    after: UUID | None,
    limit: int,
) -> None:
    """Fill the list of changed devices in the order of their ids."""
    changed: list[tuple[UUID, list[Difference]]] = []
    for _ in range(MAX_STEPS):
        ids = _next_ids(subject, after)
        own = effective.combinations_of(ids)
        examined = ((pk, changes.get(own[pk], [])) for pk in ids)
        changed += [(pk, items) for pk, items in examined if items]
        after = ids[-1] if len(ids) == STEP else None
        if after is None or len(changed) > limit:
            break
    names = device_names([pk for pk, _ in changed[:limit]])
    result.devices += [ChangedDevice(pk, names.get(pk, ""), items) for pk, items in changed[:limit]]
    result.next_after = changed[limit - 1][0] if len(changed) > limit else after


def _next_ids(subject: Subject, after: UUID | None) -> list[UUID]:
    devices = Device.objects.not_retired().order_by("pk")
    if subject.device is not None:
        devices = devices.filter(pk=subject.device.pk)
    elif subject.tag is not None:
        devices = devices.filter(device_tags__tag=subject.tag)
    elif subject.site is not None:
        devices = devices.filter(site__in=ids_below(subject.site.pk))
    if after is not None:
        devices = devices.filter(pk__gt=after)
    return list(devices.values_list("pk", flat=True)[:STEP])
