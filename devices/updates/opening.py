"""A wave is opened: its devices are given the update, batch by batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from devices.models import Device
from devices.remote_control import channel
from devices.remote_control.errors import InvalidFilter
from devices.updates import endings, steps, targets
from devices.updates.models import (
    Deployment,
    DeploymentWave,
    SoftwareUpdate,
    UpdateStatus,
)

BATCH = 5_000  # devices in one transaction
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A device, and what it is to have."""

    device_id: UUID
    version: str
    package_id: UUID | None
    from_version: str


def open_batch(row: Deployment, wave: DeploymentWave, now: datetime) -> int:
    """Give the update to the next devices of a held deployment's wave; how many.

    `wave.is_open` says afterwards that these were the last ones.
    """
    room = min(BATCH, _paced(row, now), row.counted - row.opened)
    if row.counted <= row.opened:
        _close(wave)
        return 0
    if room <= 0:
        return 0
    candidates, last = _candidates(row, wave, room)
    given = _give(row, wave, candidates, now)
    row.opened += given
    row.paced += given
    if last is None:
        _close(wave)
    else:
        wave.position = last
        wave.save(update_fields=["position"])
    return given


def _paced(row: Deployment, now: datetime) -> int:
    """How many devices may still have it in the present minute."""
    if row.paced_from is None or row.paced_from + MINUTE <= now:
        row.paced_from, row.paced = now, 0
    return BATCH if row.rate is None else row.rate - row.paced


def _close(wave: DeploymentWave) -> None:
    wave.is_open = True
    wave.save(update_fields=["is_open"])


def _candidates(
    row: Deployment, wave: DeploymentWave, limit: int
) -> tuple[Sequence[_Candidate], UUID | None]:
    """The next ones, and the last device that was looked at; None at the end."""
    if row.package is not None:
        return _forward(row, row.package, wave, limit)
    return _back(row, wave, limit)


def took(row: Deployment) -> QuerySet[UpdateStatus]:
    """The devices that came up with a deployment's version, and had another before."""
    rows: QuerySet[UpdateStatus] = UpdateStatus.objects.filter(
        deployment=row, installed_at__isnull=False
    )
    return rows.exclude(from_version="")


def _forward(
    row: Deployment, package: SoftwareUpdate, wave: DeploymentWave, limit: int
) -> tuple[Sequence[_Candidate], UUID | None]:
    try:
        devices = targets.with_place(package.pk, targets.of_deployment(row))
    except InvalidFilter:
        return [], None  # what filters there are has changed
    if package.target_models:
        devices = devices.filter(model__in=package.target_models)
    some = _after(devices.filter(place__lt=wave.ceiling), wave.position, limit)
    rows = list(some.values_list("pk", "model", package.product.reports))
    fit = [
        _Candidate(pk, package.version, package.pk, version)
        for pk, model, version in rows
        if targets.unfit(package, model=model, version=version) is None
    ]
    return fit, rows[-1][0] if len(rows) == limit else None


def _back(
    row: Deployment, wave: DeploymentWave, limit: int
) -> tuple[Sequence[_Candidate], UUID | None]:
    """Those that took what is taken back, each to the version that it had."""
    assert row.rolls_back is not None
    took_it = took(row.rolls_back)
    if wave.position is not None:
        took_it = took_it.filter(device_id__gt=wave.position)
    rows = list(
        took_it.order_by("device_id").values_list(
            "device_id", "from_version", "version"
        )[:limit]
    )
    known = SoftwareUpdate.objects.released().filter(product=row.product)
    packages = dict(
        known.filter(version__in={had for _, had, _ in rows}).values_list(
            "version", "pk"
        )
    )
    found = [
        _Candidate(pk, had, packages.get(had), has) for pk, had, has in rows if had
    ]
    return found, rows[-1][0] if len(rows) == limit else None


def _after(
    devices: QuerySet[Any, Any], position: UUID | None, limit: int
) -> QuerySet[Any, Any]:
    beyond = Q() if position is None else Q(pk__gt=position)
    return devices.filter(beyond).order_by("pk")[:limit]


def _give(
    row: Deployment,
    wave: DeploymentWave,
    candidates: Sequence[_Candidate],
    now: datetime,
) -> int:
    ids = [each.device_id for each in candidates]
    had = UpdateStatus.objects.filter(deployment=row, device__in=ids)
    has_it = set(had.values_list("device_id", flat=True))
    new = {e.device_id: e for e in candidates if e.device_id not in has_it}
    if not new:
        return 0
    steps.announce(new)
    # Read now that the rows are held: who was retired meanwhile gets nothing.
    reachable = Device.objects.living().filter(quarantined_at__isnull=True)
    living = set(reachable.filter(pk__in=new).values_list("pk", flat=True))
    endings.supersede(living, row, now=now)
    UpdateStatus.objects.bulk_create(
        [
            UpdateStatus(
                deployment=row,
                wave=wave,
                device_id=pk,
                package_id=new[pk].package_id,
                version=new[pk].version,
                from_version=new[pk].from_version,
                opened_at=now,
            )
            for pk in sorted(living)
        ]
    )
    if gone := new.keys() - living:
        steps.settle(gone)
    channel.tell_of_updates(living)
    return len(living)
