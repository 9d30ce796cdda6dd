"""Find the devices of a rollout, and the wave to which each of them belongs.

Devices are ordered by position. A position is a hash of the package's id and the device's
id. Therefore a dry run and its rollout start with the same devices, a larger wave adds
devices but moves none to another wave, and another package starts with other devices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from typing import Any
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db.models import Aggregate, BigIntegerField, Count, Func, Q, QuerySet, TextField
from django.db.models.functions import Cast

from devices.registry import device_filters
from devices.registry.models import Device
from devices.updates.android_versions import api_level
from devices.updates.models import Deployment, SoftwareUpdate, UpdateStatus
from devices.updates.versions import compare_reported

POSITIONS = 1 << 32
SAMPLE = 20  # devices of each wave that a dry run lists


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveSize:
    """Size of a wave including the waves before it: a percentage or a device count."""

    percent: float | None = None
    count: int | None = None
    starts_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SampleDevice:
    """One of the devices that a dry run lists as examples."""

    id: UUID
    name: str
    version: str


@dataclass(slots=True)
class PlannedWave:
    """A wave of a dry run.

    `devices` is how many devices start with this wave, and `first` lists some of them.
    `ceiling` is the first position after the wave's devices.
    """

    number: int
    devices: int
    ceiling: int
    first: list[SampleDevice] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Plan:
    """The devices that a rollout would reach now.

    `found` devices match the filter. `eligible` of them would be updated, and `online` of
    the eligible devices are online. `left_out` has the number of excluded devices for
    each reason.
    """

    found: int
    eligible: int
    online: int
    left_out: dict[str, int]
    waves: list[PlannedWave] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reported:
    """What a device reports about itself. A value is empty if it is unknown.

    `version` is the installed version of the product.
    """

    version: str
    model: str = ""
    os_version: str = ""
    abis: Sequence[str] = ()


def columns(package: SoftwareUpdate) -> list[str]:
    """Return the columns of devices that `Reported` needs for a package, in its order."""
    names = [package.product.reports, "model"]
    if (package.apk or {}).get("minimum_sdk") or (package.apk or {}).get("abis"):
        names += ["os_version", "hardware__abis"]
    return names


def exclusion_reason(package: SoftwareUpdate, device: Reported) -> str | None:
    """Return why a package is not for a device; None if it is.

    What is unknown about a device does not exclude it, except that a device whose version is
    unknown does not get a package with a minimum version.

    Returns:
        `model`, `android_version`, `abi`, `up_to_date`, `newer` or `minimum_version`, or None.
    """
    if package.target_models and device.model not in package.target_models:
        return "model"
    if (reason := _incompatibility(package.apk or {}, device)) is not None:
        return reason
    version = device.version
    versioning = package.product.versioning
    order = compare_reported(version, package.version, versioning) if version else None
    if order == 0:
        return "up_to_date"
    if order == 1:
        return "newer"
    if package.minimum_version:
        order = compare_reported(version, package.minimum_version, versioning)
        if order is None or order < 0:
            return "minimum_version"
    return None


def _incompatibility(apk: Mapping[str, Any], device: Reported) -> str | None:
    """Return why an Android package cannot be installed on a device; None if it can."""
    minimum, level = apk.get("minimum_sdk"), api_level(device.os_version)
    if minimum and level is not None and level < minimum:
        return "android_version"
    abis = apk.get("abis")
    if abis and device.abis and not set(abis) & set(device.abis):
        return "abi"
    return None


def matching_devices(filter: Mapping[str, str], *, now: datetime) -> QuerySet[Device]:
    """Return the tenant's devices that match a filter and may be updated.

    Retired and quarantined devices are left out.

    Raises:
        InvalidFilter: the filter is invalid.
    """
    devices = device_filters.select(filter, now=now)
    return devices.not_retired().filter(quarantined_at__isnull=True)


def plan(
    package: SoftwareUpdate,
    *,
    filter: Mapping[str, str],
    sizes: Sequence[WaveSize],
    rollout: Deployment | None = None,
    now: datetime,
) -> Plan:
    """Count the devices of a rollout, wave by wave.

    Args:
        rollout: a started rollout. Its devices count as eligible, whatever version they
            run now.

    Raises:
        InvalidFilter: the filter is invalid.
    """
    if rollout is None:
        devices = matching_devices(filter, now=now)
    else:
        devices = devices_of_rollout(rollout, now=now)
    result = _count_devices(package, devices)
    fit = eligible(package, devices)
    if rollout is not None:
        offered = UpdateStatus.objects.filter(deployment=rollout).order_by()
        keys = fit.order_by().values("pk").union(offered.values("device_id"))
        fit = with_position(package.pk, Device.objects.filter(pk__in=keys))
        result.eligible = fit.count()
    if result.eligible:
        result.waves = _waves(package, fit, sizes, result.eligible)
    return result


def _count_devices(package: SoftwareUpdate, devices: QuerySet[Device]) -> Plan:
    groups = devices.order_by().values_list(*columns(package))
    result = Plan(found=0, eligible=0, online=0, left_out={})
    counts = groups.annotate(
        devices=Count("pk"), online=Count("pk", filter=Q(status=Device.Status.ONLINE))
    )
    for *values, number, online in counts:
        reason = exclusion_reason(package, reported(values))
        result.found += number
        if reason is None:
            result.eligible += number
            result.online += online
        else:
            result.left_out[reason] = result.left_out.get(reason, 0) + number
    return result


def eligible(package: SoftwareUpdate, devices: QuerySet[Device]) -> QuerySet[Any, Any]:
    """Return the devices that the package is for, with their positions."""
    reports = package.product.reports
    model = package.target_models[0] if package.target_models else ""
    versions = devices.order_by().values_list(reports, flat=True).distinct()
    fitting = [v for v in versions if exclusion_reason(package, Reported(v, model)) is None]
    fits = Q(**{f"{reports}__in": fitting})
    if package.target_models:
        fits &= Q(model__in=package.target_models)
    return with_position(package.pk, devices.filter(fits & _is_compatible(package, devices)))


def _is_compatible(package: SoftwareUpdate, devices: QuerySet[Device]) -> Q:
    """Return a condition on devices, as `_incompatibility` decides about each of them."""
    apk, condition = package.apk or {}, Q()
    if apk.get("minimum_sdk"):
        systems = devices.order_by().values_list("os_version", flat=True).distinct()
        too_old = [v for v in systems if _incompatibility(apk, Reported("", os_version=v))]
        condition &= ~Q(os_version__in=too_old)
    if apk.get("abis"):
        is_unknown = Q(hardware__isnull=True) | Q(hardware__abis__len=0)
        condition &= is_unknown | Q(hardware__abis__overlap=apk["abis"])
    return condition


def reported(values: Sequence[Any]) -> Reported:
    """Return what a device reports, from the values of `columns`."""
    version, model, *more = values
    if not more:
        return Reported(version, model)
    return Reported(version, model, os_version=more[0], abis=more[1] or ())


def with_position(package_id: UUID, devices: QuerySet[Device]) -> QuerySet[Any, Any]:
    """Annotate devices with their `position` in the order of a package's rollouts."""
    position = Func(
        Cast("pk", TextField()),
        template=(f"('x' || left(md5('{package_id}' || %(expressions)s), 8))::bit(32)::bigint"),
        output_field=BigIntegerField(),
    )
    return devices.annotate(position=position)


def devices_of_rollout(rollout: Deployment, *, now: datetime) -> QuerySet[Device]:
    """Return the devices that match a rollout's filter.

    Only a dynamic rollout has devices that were registered after its start.
    """
    devices = matching_devices(rollout.filter, now=now)
    return devices if rollout.dynamic else devices.filter(registered_at__lte=rollout.begun_at)


def _waves(
    package: SoftwareUpdate, devices: QuerySet[Any, Any], sizes: Sequence[WaveSize], total: int
) -> list[PlannedWave]:
    counts = [_cumulative_count(size, total) for size in sizes]
    ceilings = _ceilings(devices, counts, total)
    waves, floor, before = [], 0, 0
    for number, (count, ceiling) in enumerate(zip(counts, ceilings, strict=True), start=1):
        first: list[SampleDevice] = []
        if ceiling > floor:
            sample = devices.filter(position__gte=floor, position__lt=ceiling)
            columns = sample.order_by("pk")[:SAMPLE].values_list(
                "pk", "name", package.product.reports
            )
            first = [SampleDevice(*row) for row in columns]
        waves.append(PlannedWave(number, max(0, count - before), ceiling, first))
        floor, before = max(floor, ceiling), max(before, count)
    return waves


def _cumulative_count(size: WaveSize, total: int) -> int:
    """Return how many devices a wave and the waves before it include.

    A percentage is rounded up.
    """
    if size.percent is None:
        return min(total, size.count or 0)
    return min(total, ceil(total * size.percent / 100 - 1e-9))


def _ceilings(devices: QuerySet[Device, Any], counts: Sequence[int], total: int) -> list[int]:
    """Return for each count of `counts` the first position after that many devices."""
    # Subtract half a device, so that rounding never selects the next device.
    shares = [max(0.0, (count - 0.5) / total) for count in counts]
    aggregate = _PositionsAt("position", shares=shares)
    positions = devices.order_by().aggregate(at=aggregate)["at"]
    return [
        POSITIONS if count >= total else int(position) + 1
        for count, position in zip(counts, positions, strict=True)
    ]


class _PositionsAt(Aggregate):
    """Aggregate that returns the positions at several shares of the rows, with one sort."""

    function = "percentile_disc"
    template = "%(function)s(%(shares)s) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = ArrayField(BigIntegerField())

    def __init__(self, expression: str, *, shares: Sequence[float]) -> None:
        values = ", ".join(repr(share) for share in shares)
        super().__init__(expression, shares=f"ARRAY[{values}]::float8[]")
