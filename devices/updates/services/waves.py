"""A wave is opened: its devices are given the update, batch by batch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Exists, Max, OuterRef, Q, QuerySet

from devices.registry.errors import InvalidFilter
from devices.registry.models import Device
from devices.remote_control.services import push_notifications
from devices.updates.models import (
    STOPPABLE,
    Deployment,
    DeploymentWave,
    SoftwareUpdate,
    UpdateStatus,
)
from devices.updates.services import next_steps, status_changes, targets
from devices.updates.versions import compared

BATCH = 5_000  # devices in one transaction
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A device, and what it is to have; `fits` is False of one that is left out."""

    device_id: UUID
    version: str
    package_id: UUID | None
    from_version: str
    fits: bool = True


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
    looked_at = _candidates(row, wave, now)
    taken, last = _first(looked_at, room)
    given = _give(row, wave, taken, now)
    row.opened += given
    row.paced += given
    if last is None and len(looked_at) < BATCH:
        _close(wave)
    else:
        wave.position = last or looked_at[-1].device_id
        wave.save(update_fields=["position"])
    return given


def took(row: Deployment) -> QuerySet[UpdateStatus]:
    """The devices that run a deployment's version now, and had another before.

    Versions are compared as versions; there are few different ones.
    """
    reports, versioning = f"device__{row.product.reports}", row.product.versioning
    rows: QuerySet[UpdateStatus] = UpdateStatus.objects.filter(
        deployment=row, device__quarantined_at__isnull=True
    ).exclude(device__status=Device.Status.RETIRED)
    found = Q(pk__in=())
    told = rows.order_by().values_list("version", reports, "from_version").distinct()
    for version, reported, had in told:
        runs_it = compared(reported, version, versioning) == 0
        if runs_it and had and compared(had, version, versioning) != 0:
            found |= Q(version=version, from_version=had, **{reports: reported})
    return rows.filter(found)


def _paced(row: Deployment, now: datetime) -> int:
    """How many devices may still have it in the present minute."""
    if row.paced_from is None or row.paced_from + MINUTE <= now:
        row.paced_from, row.paced = now, 0
    return BATCH if row.rate is None else row.rate - row.paced


def _close(wave: DeploymentWave) -> None:
    wave.is_open = True
    wave.save(update_fields=["is_open"])


def _first(
    candidates: Sequence[_Candidate], room: int
) -> tuple[list[_Candidate], UUID | None]:
    """The first ones that fit, and the last of them if there may be more."""
    taken: list[_Candidate] = []
    for each in candidates:
        if each.fits:
            taken.append(each)
        if len(taken) == room:
            return taken, each.device_id
    return taken, None


def _candidates(
    row: Deployment, wave: DeploymentWave, now: datetime
) -> Sequence[_Candidate]:
    """The next devices by their ids, at most `BATCH`, that have not got it yet."""
    if row.package is not None:
        return _forward(row, row.package, wave, now)
    return _back(row, wave)


def _forward(
    row: Deployment, package: SoftwareUpdate, wave: DeploymentWave, now: datetime
) -> Sequence[_Candidate]:
    try:
        devices = targets.with_place(package.pk, targets.of_deployment(row, now=now))
    except InvalidFilter:
        return []  # what filters there are has changed
    if package.target_models:
        devices = devices.filter(model__in=package.target_models)
    columns = ("pk", "model", package.product.reports)
    some = _after(devices.filter(place__lt=wave.ceiling), "pk", wave.position)
    looked_at = _of_a_small_wave(row, wave, some.values_list(*columns))
    if looked_at is None:
        has_it = UpdateStatus.objects.filter(deployment=row, device=OuterRef("pk"))
        looked_at = list(some.filter(~Exists(has_it)).values_list(*columns)[:BATCH])
    meant = _meant_already(row, package, [pk for pk, _, _ in looked_at])
    return [
        _Candidate(
            *(pk, package.version, package.pk, version),
            fits=pk not in meant
            and targets.unfit(package, model=model, version=version) is None,
        )
        for pk, model, version in looked_at
    ]


def _of_a_small_wave(
    row: Deployment, wave: DeploymentWave, rows: QuerySet[Any, Any]
) -> list[Any] | None:
    """The devices of a wave that is a small part of a large fleet; None of any other.

    To go through such a fleet in the order of ids, for the few that the wave has, would
    fetch every row by itself. They are found by one look over the table, and put in
    order here.
    """
    lower = row.waves.filter(number__lt=wave.number).aggregate(at=Max("ceiling"))["at"]
    share = ((wave.ceiling or 0) - (lower or 0)) / targets.PLACES
    if share * row.counted > 1.5 * BATCH or row.counted <= BATCH:
        return None
    found = list(rows.filter(place__gte=lower or 0).order_by()[: 2 * BATCH + 1])
    if len(found) > 2 * BATCH:
        return None
    has_it = UpdateStatus.objects.filter(
        deployment=row, device__in=[pk for pk, _, _ in found]
    )
    known = set(has_it.values_list("device_id", flat=True))
    return sorted(one for one in found if one[0] not in known)[:BATCH]


def _meant_already(
    row: Deployment, package: SoftwareUpdate, device_ids: Iterable[UUID]
) -> set[UUID]:
    """Who is to have this version, or a newer one, by another rollout."""
    others = UpdateStatus.objects.open().filter(
        device__in=device_ids,
        deployment__product=row.product_id,
        deployment__rolls_back__isnull=True,
    )
    resting = Q(status__in=STOPPABLE, deployment__state__in=("paused", "aborted"))
    others = others.exclude(resting)
    versioning = row.product.versioning
    return {
        pk
        for pk, version in others.exclude(deployment=row).values_list(
            "device_id", "version"
        )
        if compared(version, package.version, versioning) in (0, 1)
    }


def _back(row: Deployment, wave: DeploymentWave) -> Sequence[_Candidate]:
    """Those that run what is taken back, each to the version that it had."""
    assert row.rolls_back is not None
    back = UpdateStatus.objects.filter(deployment=row, device=OuterRef("device"))
    some = took(row.rolls_back).filter(~Exists(back))
    rows = list(
        _after(some, "device_id", wave.position).values_list(
            "device_id", "from_version", "version"
        )[:BATCH]
    )
    known = SoftwareUpdate.objects.released().filter(product=row.product)
    packages = dict(
        known.filter(version__in={had for _, had, _ in rows}).values_list(
            "version", "pk"
        )
    )
    return [_Candidate(pk, had, packages.get(had), has) for pk, had, has in rows]


def _after(
    rows: QuerySet[Any, Any], column: str, position: UUID | None
) -> QuerySet[Any, Any]:
    beyond = Q() if position is None else Q(**{f"{column}__gt": position})
    return rows.filter(beyond).order_by(column)


def _give(
    row: Deployment,
    wave: DeploymentWave,
    candidates: Sequence[_Candidate],
    now: datetime,
) -> int:
    new = {each.device_id: each for each in candidates}
    if not new:
        return 0
    next_steps.announce(new)
    # Read now that the rows are held: who was retired meanwhile gets nothing.
    reachable = Device.objects.living().filter(quarantined_at__isnull=True)
    living = set(reachable.filter(pk__in=new).values_list("pk", flat=True))
    status_changes.supersede(living, row, now=now)
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
        next_steps.settle(gone)
    push_notifications.tell_of_updates(living)
    return len(living)
