"""Find the next devices of the wave that is being opened. All queries are read-only."""

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.db.models import Exists, Max, OuterRef, Q, QuerySet

from devices.registry.errors import InvalidFilter
from devices.registry.models import Device
from devices.updates.models import (
    STOPPABLE,
    Deployment,
    DeploymentWave,
    SoftwareUpdate,
    UpdateStatus,
)
from devices.updates.services import policies, targets
from devices.updates.services.rollout_decision import Batch, Candidate
from devices.updates.versions import compare_reported, compare_versions

BATCH = 5_000  # devices in one step
MINUTE = timedelta(minutes=1)


def next_batch(rollout: Deployment, *, now: datetime) -> Batch | None:
    """Return the next batch of the wave that is being opened; None if no wave is being opened."""
    wave = rollout.waves.filter(state=DeploymentWave.State.RUNNING, is_open=False).first()
    if wave is None:
        return None
    remaining = max_devices(rollout) - rollout.opened
    if remaining <= 0:
        return Batch(wave=wave.number, capacity=0, is_last=True)
    capacity = min(BATCH, opened_in_minute(rollout, now=now)[2], remaining)
    if capacity <= 0:
        return Batch(wave=wave.number, capacity=0)
    candidates = _candidates(rollout, wave, now)
    return Batch(
        wave=wave.number, capacity=capacity, candidates=candidates, is_last=len(candidates) < BATCH
    )


def max_devices(rollout: Deployment) -> int:
    """Return how many devices a rollout may have.

    A dynamic rollout that no second member has approved grows to the number above which an
    approval is required.
    """
    if not rollout.dynamic or rollout.package_id is None:
        return rollout.counted
    if rollout.approved_by_id is not None:
        return sys.maxsize
    return max(rollout.counted, policies.current_policy().approval_above)


def has_late_devices(rollout: Deployment, *, now: datetime) -> bool:
    """Return True if devices match a dynamic rollout now that have not been offered the update."""
    package, wave = rollout.package, rollout.waves.last()
    if package is None or wave is None or rollout.opened >= max_devices(rollout):
        return False
    try:
        devices = targets.devices_of_rollout(rollout, now=now)
    except InvalidFilter:
        return False
    known = UpdateStatus.objects.filter(deployment=rollout, device=OuterRef("pk"))
    in_wave = targets.eligible(package, devices).filter(position__lt=wave.ceiling)
    late = set(in_wave.filter(~Exists(known)).values_list("pk", flat=True)[:BATCH])
    return bool(late - _promised(rollout, package, late))


def opened_in_minute(rollout: Deployment, *, now: datetime) -> tuple[datetime, int, int]:
    """Return the values that limit the rate of a rollout.

    Returns:
        The start of the current minute, the number of devices that were offered the update
        in this minute, and the number of devices that may still be offered the update.
    """
    since, opened = rollout.paced_from, rollout.paced
    if since is None or since + MINUTE <= now:
        since, opened = now, 0
    capacity = BATCH if rollout.rate is None else rollout.rate - opened
    return since, opened, capacity


def rollback_candidates(rollout: Deployment) -> QuerySet[UpdateStatus]:
    """Return the rows of devices that run the rollout's version and ran another one before.

    Versions are compared in Python by the product's versioning scheme. Few different
    versions occur, so this is fast.
    """
    product = rollout.product
    reported = f"device__{product.reports}"
    rows = UpdateStatus.objects.filter(
        deployment=rollout, device__quarantined_at__isnull=True
    ).exclude(device__status=Device.Status.RETIRED)
    matching = Q(pk__in=())
    combinations = rows.order_by().values_list("version", reported, "from_version")
    for version, value, before in combinations.distinct():
        runs_it = compare_reported(value, version, product.versioning) == 0
        was_same = compare_reported(before, version, product.versioning) == 0
        if runs_it and before and not was_same:
            matching |= Q(version=version, from_version=before, **{reported: value})
    return rows.filter(matching)


def _candidates(rollout: Deployment, wave: DeploymentWave, now: datetime) -> Sequence[Candidate]:
    """Return at most `BATCH` next devices of a wave, ordered by id.

    Devices that have an update row of this rollout are left out.
    """
    if rollout.package is None:
        return _to_roll_back(rollout, wave)
    return _to_update(rollout, rollout.package, wave, now)


def _to_update(
    rollout: Deployment, package: SoftwareUpdate, wave: DeploymentWave, now: datetime
) -> Sequence[Candidate]:
    try:
        devices = targets.with_position(package.pk, targets.devices_of_rollout(rollout, now=now))
    except InvalidFilter:
        return []  # this release of the server no longer has one of the filter's parameters
    if package.target_models:
        devices = devices.filter(model__in=package.target_models)
    columns = ("pk", *targets.columns(package))
    in_wave = _after(devices.filter(position__lt=wave.ceiling), "pk", wave.position)
    rows = _of_small_wave(rollout, wave, in_wave.values_list(*columns))
    if rows is None:
        known = UpdateStatus.objects.filter(deployment=rollout, device=OuterRef("pk"))
        rows = list(in_wave.filter(~Exists(known)).values_list(*columns)[:BATCH])
    promised = _promised(rollout, package, [row[0] for row in rows])
    return [
        Candidate(
            device_id=pk,
            version=package.version,
            package_id=package.pk,
            from_version=values[0],
            fits=pk not in promised
            and targets.exclusion_reason(package, targets.reported(values)) is None,
        )
        for pk, *values in rows
    ]


def _of_small_wave(
    rollout: Deployment, wave: DeploymentWave, rows: QuerySet[Any, Any]
) -> list[Any] | None:
    """Return the next devices of a wave that is a small part of a large fleet; otherwise None.

    A query ordered by id would be slow, because it searches a large part of the table for
    each device. One scan finds all devices of the wave, and they are sorted in Python.
    """
    if rollout.dynamic:  # late devices have any position
        return None
    lower = rollout.waves.filter(number__lt=wave.number).aggregate(ceiling=Max("ceiling"))[
        "ceiling"
    ]
    share = ((wave.ceiling or 0) - (lower or 0)) / targets.POSITIONS
    if share * rollout.counted > 1.5 * BATCH or rollout.counted <= BATCH:
        return None
    scanned = list(rows.filter(position__gte=lower or 0).order_by()[: 2 * BATCH + 1])
    if len(scanned) > 2 * BATCH:
        return None
    known = UpdateStatus.objects.filter(deployment=rollout, device__in=[row[0] for row in scanned])
    known_ids = set(known.values_list("device_id", flat=True))
    remaining = [row for row in scanned if row[0] not in known_ids]
    return sorted(remaining, key=itemgetter(0))[:BATCH]


def _promised(
    rollout: Deployment, package: SoftwareUpdate, device_ids: Iterable[UUID]
) -> set[UUID]:
    """Return the devices to which another rollout offers the same or a newer version."""
    others = UpdateStatus.objects.open().filter(
        device__in=device_ids,
        deployment__product=rollout.product_id,
        deployment__rolls_back__isnull=True,
    )
    inactive = Q(status__in=STOPPABLE, deployment__state__in=("paused", "aborted"))
    others = others.exclude(inactive).exclude(deployment=rollout)
    return {
        device_id
        for device_id, version in others.values_list("device_id", "version")
        if compare_versions(version, package.version, rollout.product.versioning) in (0, 1)
    }


def _to_roll_back(rollout: Deployment, wave: DeploymentWave) -> Sequence[Candidate]:
    """Return the next devices to roll back, each with its previous version."""
    assert rollout.rolls_back is not None
    known = UpdateStatus.objects.filter(deployment=rollout, device=OuterRef("device"))
    rows = list(
        _after(
            rollback_candidates(rollout.rolls_back).filter(~Exists(known)),
            "device_id",
            wave.position,
        ).values_list("device_id", "from_version", "version")[:BATCH]
    )
    released = SoftwareUpdate.objects.released().filter(
        product=rollout.product, version__in={before for _, before, _ in rows}
    )
    packages = dict(released.values_list("version", "pk"))
    return [
        Candidate(
            device_id=device_id,
            version=before,
            package_id=packages.get(before),
            from_version=current,
        )
        for device_id, before, current in rows
    ]


def _after(rows: QuerySet[Any, Any], column: str, position: UUID | None) -> QuerySet[Any, Any]:
    beyond = Q() if position is None else Q(**{f"{column}__gt": position})
    return rows.filter(beyond).order_by(column)
