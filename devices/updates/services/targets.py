"""For which devices a rollout is, and in which wave each of them comes.

A device's place in the order of a package's rollouts is a hash of both ids. So the same
devices are the first ones in the dry run and in the rollout, a larger share adds devices
and moves none, and another package begins with others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from typing import Any
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db.models import (
    Aggregate,
    BigIntegerField,
    Count,
    Func,
    Q,
    QuerySet,
    TextField,
)
from django.db.models.functions import Cast

from devices.registry import device_filters
from devices.registry.models import Device
from devices.updates.models import Deployment, SoftwareUpdate, UpdateStatus
from devices.updates.versions import compared

PLACES = 1 << 32
SAMPLE = 20  # devices of each wave that a dry run names


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How far a wave goes, together with those before it: a share, or so many devices."""

    percent: float | None = None
    count: int | None = None
    starts_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """A device that a dry run names."""

    id: UUID
    name: str
    version: str


@dataclass(slots=True)
class PlannedWave:
    """`devices` come with this wave, up to the place `ceiling`; `first` are some."""

    number: int
    devices: int
    ceiling: int
    first: list[Named] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Plan:
    """What a rollout would come to now; `left_out` says how many, and why."""

    found: int
    eligible: int
    online: int
    left_out: dict[str, int]
    waves: list[PlannedWave] = field(default_factory=list)


def unfit(package: SoftwareUpdate, *, model: str, version: str) -> str | None:
    """Why a device is not given a package; None if it is.

    What version a device has that never said, nobody knows: it gets the package, unless
    that wants another one before.
    """
    if package.target_models and model not in package.target_models:
        return "model"
    versioning = package.product.versioning
    order = compared(version, package.version, versioning) if version else None
    if order == 0:
        return "up_to_date"
    if order == 1:
        return "newer"
    if package.minimum_version:
        since = compared(version, package.minimum_version, versioning)
        if since is None or since < 0:
            return "minimum_version"
    return None


def found(filter: Mapping[str, str], *, now: datetime) -> QuerySet[Device]:
    """The current tenant's devices that a filter finds and that may be updated.

    Raises:
        InvalidFilter: it is none.
    """
    devices = device_filters.select(filter, now=now)
    return devices.living().filter(quarantined_at__isnull=True)


def plan(
    package: SoftwareUpdate,
    *,
    filter: Mapping[str, str],
    sizes: Sequence[Size],
    begun: Deployment | None = None,
    now: datetime,
) -> Plan:
    """Count a rollout's devices, wave by wave.

    Args:
        begun: whose devices count as well, whatever version they have by now.

    Raises:
        InvalidFilter: the filter is none.
    """
    devices = found(filter, now=now) if begun is None else of_deployment(begun, now=now)
    told = _counted(package, devices)
    fit = eligible(package, devices)
    if begun is not None:
        has_it = UpdateStatus.objects.filter(deployment=begun).order_by()
        either = fit.order_by().values("pk").union(has_it.values("device_id"))
        fit = with_place(package.pk, Device.objects.filter(pk__in=either))
        told.eligible = fit.count()
    if told.eligible:
        told.waves = _waves(package, fit, sizes, told.eligible)
    return told


def _counted(package: SoftwareUpdate, devices: QuerySet[Device]) -> Plan:
    groups = devices.order_by().values_list("model", package.product.reports)
    told = Plan(found=0, eligible=0, online=0, left_out={})
    counted = groups.annotate(
        devices=Count("pk"), here=Count("pk", filter=Q(status=Device.Status.ONLINE))
    )
    for model, version, number, here in counted:
        reason = unfit(package, model=model, version=version)
        told.found += number
        if reason is None:
            told.eligible, told.online = told.eligible + number, told.online + here
        else:
            told.left_out[reason] = told.left_out.get(reason, 0) + number
    return told


def eligible(package: SoftwareUpdate, devices: QuerySet[Device]) -> QuerySet[Any, Any]:
    """Of some devices those that a package is for, with their places."""
    reports = package.product.reports
    versions = devices.order_by().values_list(reports, flat=True).distinct()
    fits = Q(**{f"{reports}__in": [v for v in versions if _is_fit(package, v)]})
    if package.target_models:
        fits &= Q(model__in=package.target_models)
    return with_place(package.pk, devices.filter(fits))


def with_place(package_id: UUID, devices: QuerySet[Device]) -> QuerySet[Any, Any]:
    hashed = Func(
        Cast("pk", TextField()),
        template=(
            f"('x' || left(md5('{package_id}' || %(expressions)s), 8))::bit(32)::bigint"
        ),
        output_field=BigIntegerField(),
    )
    return devices.annotate(place=hashed)


def of_deployment(deployment: Deployment, *, now: datetime) -> QuerySet[Device]:
    """Those that its filter finds and that were there when it was begun."""
    devices = found(deployment.filter, now=now)
    return devices.filter(registered_at__lte=deployment.begun_at)


def _waves(
    package: SoftwareUpdate,
    fit: QuerySet[Any, Any],
    sizes: Sequence[Size],
    total: int,
) -> list[PlannedWave]:
    upto = [_number(size, total) for size in sizes]
    ceilings = _ceilings(fit, upto, total)
    waves, low, before = [], 0, 0
    for number, (so_far, high) in enumerate(zip(upto, ceilings, strict=True), start=1):
        some = fit.filter(place__gte=low, place__lt=high).order_by("pk")[:SAMPLE]
        columns = some.values_list("pk", "name", package.product.reports)
        first = [Named(*row) for row in columns] if high > low else []
        waves.append(PlannedWave(number, max(0, so_far - before), high, first))
        low, before = max(low, high), max(before, so_far)
    return waves


def _number(size: Size, total: int) -> int:
    """So many devices, with the waves before; a share of some is at least one."""
    if size.percent is None:
        return min(total, size.count or 0)
    return min(total, ceil(total * size.percent / 100 - 1e-9))


def _ceilings(
    devices: QuerySet[Device, Any], numbers: Sequence[int], total: int
) -> list[int]:
    """Before which place the first so many devices are."""
    # Half a device less, so that no rounding gives the next one's place.
    shares = [max(0.0, (number - 0.5) / total) for number in numbers]
    places = devices.order_by().aggregate(at=_PlacesAt("place", shares=shares))["at"]
    return [
        PLACES if number >= total else int(place) + 1
        for number, place in zip(numbers, places, strict=True)
    ]


class _PlacesAt(Aggregate):
    """The values at some shares of the rows in their order: one sort for all of them."""

    function = "percentile_disc"
    template = "%(function)s(%(shares)s) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = ArrayField(BigIntegerField())

    def __init__(self, expression: str, *, shares: Sequence[float]) -> None:
        said = ", ".join(repr(share) for share in shares)
        super().__init__(expression, shares=f"ARRAY[{said}]::float8[]")


def _is_fit(package: SoftwareUpdate, version: str) -> bool:
    model = package.target_models[0] if package.target_models else ""
    return unfit(package, model=model, version=version) is None
