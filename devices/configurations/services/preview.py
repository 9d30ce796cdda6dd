"""Before a layer is saved: which devices would change, and in which keys.

Devices that have the same layers change alike, so each combination of layers is worked
out once, however many devices have it.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from uuid import UUID

from django.db import connection

from devices.configurations.documents import Difference, differences, layered
from devices.configurations.models import DeviceConfiguration, Scope
from devices.configurations.services import effective
from devices.configurations.services.effective import Layers
from devices.configurations.services.layers import Subject, checked, layer_of
from devices.registry.models import Device
from devices.registry.services.tags import names_of
from tenants.context import current_tenant_id, tenant_scope
from tenants.models import Tenant

MOST_TENANTS = 500  # that a preview of the platform's layer goes through
MOST_COMBINATIONS = 20_000  # that are worked out; more leave the preview incomplete
NAMED = 100  # devices at most in one answer
STEP = 2_000
MOST_STEPS = 50  # in which devices are looked for; then the list is to be gone on with
AT_ONCE = 1_000  # combinations of which the documents are in memory

# The layers that devices have beside the base, and how many have them; and all devices.
COMBINATIONS = """
    SELECT layers, count(*), sum(count(*)) OVER () FROM (
        SELECT coalesce(tagged.layers, '{}') || coalesce(own.layers, '{}')
        FROM devices_device device
        LEFT JOIN (
            SELECT worn.device_id, array_agg(layer.id ORDER BY layer.rank)
            FROM devices_devicetag worn
            JOIN configurations_deviceconfiguration layer
                ON layer.tag_id = worn.tag_id
            WHERE layer.tenant_id = %(tenant)s AND layer.document <> '{}'
            GROUP BY worn.device_id
        ) tagged (device_id, layers) ON tagged.device_id = device.id
        LEFT JOIN (
            SELECT layer.device_id, ARRAY[layer.id]
            FROM configurations_deviceconfiguration layer
            WHERE layer.tenant_id = %(tenant)s AND layer.document <> '{}'
        ) own (device_id, layers) ON own.device_id = device.id
        WHERE device.tenant_id = %(tenant)s AND device.status <> 'retired'
            AND (%(tag)s IS NULL OR EXISTS (
                SELECT FROM devices_devicetag worn
                WHERE worn.device_id = device.id AND worn.tag_id = %(tag)s))
    ) had (layers) GROUP BY layers
    ORDER BY count(*) DESC, layers LIMIT %(most)s
"""


@dataclass(frozen=True, slots=True)
class Changing:
    """A device that would change, and how."""

    device_id: UUID
    name: str
    changes: list[Difference]


@dataclass(slots=True)
class Preview:
    """What a save would do.

    `complete` is False when there are more combinations of layers than were worked out;
    the numbers are then a lower bound.
    """

    looked_at: int = 0  # devices for which the layer is
    changing: int = 0
    complete: bool = True
    keys: Counter[str] = field(default_factory=Counter)
    devices: list[Changing] = field(default_factory=list)
    next_after: UUID | None = None  # where the list of devices goes on


@dataclass(frozen=True, slots=True)
class _Proposal:
    """The document in the place of the layer's present one."""

    subject: Subject
    document: dict[str, Any]
    layer: DeviceConfiguration | None
    ground: list[Any]  # what is below the layers of tags and devices now
    new_ground: list[Any]
    ranks: dict[UUID, int | None]

    def changes(self, layers: Layers, documents: dict[UUID, Any]) -> list[Difference]:
        own = [(pk, documents[pk]) for pk in layers]
        before = [*self.ground, *(document for _, document in own)]
        if self.subject.scope in (Scope.TAG, Scope.DEVICE):
            own = self._with_the_document(own)
        after = [*self.new_ground, *(document for _, document in own)]
        was, will_be = (
            layered([("", document) for document in documents])
            for documents in (before, after)
        )
        return differences(was.document, will_be.document)

    def _with_the_document(self, own: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        mine = self.layer.pk if self.layer else None
        others = [(pk, document) for pk, document in own if pk != mine]
        place = len(others)
        if self.subject.scope == Scope.TAG:
            rank = (self.layer.rank if self.layer else None) or sys.maxsize
            place = sum((self.ranks.get(pk) or sys.maxsize) < rank for pk, _ in others)
        return [*others[:place], (mine, self.document), *others[place:]]


def preview(
    *, subject: Subject, document: Any, after: UUID | None = None, limit: int = NAMED
) -> Preview:
    """What saving a document as somebody's layer would change now.

    Args:
        after: go on with the list of devices after this one.
        limit: devices in the list.

    Raises:
        InvalidSubject, InvalidDocument: see `layers.save`.
    """
    told = Preview()
    _look(told, _proposal(subject.checked(), checked(document)), after, limit)
    return told


def preview_platform(*, document: Any, limit: int = NAMED) -> Preview:
    """What saving a document as the platform's layer would change, in every tenant.

    Raises:
        InvalidDocument: see `layers.save`.
    """
    document, told = checked(document), Preview()
    tenants = list(Tenant.objects.order_by("slug")[: MOST_TENANTS + 1])
    told.complete = len(tenants) <= MOST_TENANTS
    for tenant in tenants[:MOST_TENANTS]:
        with tenant_scope(tenant.pk):
            proposal = _proposal(Subject(Scope.PLATFORM), document)
            _look(told, proposal, None, limit - len(told.devices))
    return told


def _proposal(subject: Subject, document: dict[str, Any]) -> _Proposal:
    saying = DeviceConfiguration.objects.saying_something().order_by()
    platform, tenant = effective.platform_says(), effective.tenant_says()
    match subject.scope:
        case Scope.PLATFORM:
            new_ground = [document, tenant]
        case Scope.TENANT:
            new_ground = [platform, document]
        case _:
            new_ground = [platform, tenant]
    return _Proposal(
        subject=subject,
        document=document,
        layer=layer_of(subject),
        ground=[platform, tenant],
        new_ground=new_ground,
        ranks=dict(saying.of_tags().values_list("pk", "rank")),
    )


def _look(told: Preview, proposal: _Proposal, after: UUID | None, limit: int) -> None:
    """Add the current tenant's devices to a preview."""
    found_there = list(_combinations(proposal.subject))
    told.looked_at += found_there[0][2] if found_there else 0
    told.complete &= len(found_there) <= MOST_COMBINATIONS
    combinations = {
        layers: count for layers, count, _ in found_there[:MOST_COMBINATIONS]
    }
    changes: dict[Layers, list[Difference]] = {}
    few = iter(combinations)
    while chunk := list(islice(few, AT_ONCE)):
        documents = effective.documents_of(pk for layers in chunk for pk in layers)
        changes |= {layers: proposal.changes(layers, documents) for layers in chunk}
    for layers, found in changes.items():
        told.keys.update({item.key: combinations[layers] for item in found})
    changing = sum(combinations[layers] for layers, found in changes.items() if found)
    told.changing += changing
    if changing and limit:
        _name(told, proposal.subject, changes, after, limit)


def _combinations(subject: Subject) -> Iterator[tuple[Layers, int, int]]:
    """Which layers the subject's devices have beside the base, and how many have them.

    The most frequent first, one more than are worked out; with the number of all devices.
    """
    if subject.device is not None:
        own = effective.own_layers([subject.device.pk])
        yield own.get(subject.device.pk, ()), 1, 1
        return
    with connection.cursor() as cursor:
        cursor.execute(
            COMBINATIONS,
            {
                "tenant": str(current_tenant_id()),
                "tag": subject.tag.pk if subject.tag else None,
                "most": MOST_COMBINATIONS + 1,
            },
        )
        for layers, count, everybody in cursor.fetchall():
            yield tuple(layers), count, int(everybody)


def _name(
    told: Preview,
    subject: Subject,
    changes: dict[Layers, list[Difference]],
    after: UUID | None,
    limit: int,
) -> None:
    """Fill the list of devices, in the order of their ids."""
    found: list[tuple[UUID, list[Difference]]] = []
    for _ in range(MOST_STEPS):
        ids = _some(subject, after)
        own = effective.own_layers(ids)
        alike = ((pk, changes.get(own.get(pk, ()), [])) for pk in ids)
        found += [(pk, change) for pk, change in alike if change]
        after = ids[-1] if len(ids) == STEP else None
        if after is None or len(found) > limit:
            break
    names = names_of([pk for pk, _ in found[:limit]])
    told.devices += [
        Changing(pk, names.get(pk, ""), change) for pk, change in found[:limit]
    ]
    told.next_after = found[limit - 1][0] if len(found) > limit else after


def _some(subject: Subject, after: UUID | None) -> list[UUID]:
    devices = Device.objects.living().order_by("pk")
    if subject.device is not None:
        devices = devices.filter(pk=subject.device.pk)
    elif subject.tag is not None:
        devices = devices.filter(device_tags__tag=subject.tag)
    if after is not None:
        devices = devices.filter(pk__gt=after)
    return list(devices.values_list("pk", flat=True)[:STEP])
