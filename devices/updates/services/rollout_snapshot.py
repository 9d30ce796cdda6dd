"""Load the snapshots that a step of a rollout needs to decide. Queries are read-only."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet

from devices.monitoring.models import Alert
from devices.registry.models import Device
from devices.updates.models import Deployment, DeploymentWave, Status, UpdateStatus
from devices.updates.services.retry_decision import FailedDevice
from devices.updates.services.rollout_decision import (
    ENDED,
    INTERVAL_SEARCH,
    Devices,
    Finding,
    Progress,
    WaveFigures,
)
from devices.updates.services.wave_candidates import has_late_devices, next_batch
from devices.updates.versions import compare_reported

State = Deployment.State
Wave = DeploymentWave.State
Rows = QuerySet[UpdateStatus, Any]

MAX_INSTALLATIONS = 3  # in one attempt
MAX_DOWNLOAD_TIME = timedelta(days=1)


def load_devices(rollout: Deployment, *, now: datetime) -> Devices:
    """Load the next devices of the wave that is being opened, and the findings of a rollout."""
    if rollout.state == State.SCHEDULED:
        return Devices(state=rollout.state, starts_at=rollout.starts_at)
    return Devices(
        state=rollout.state,
        starts_at=rollout.starts_at,
        batch=next_batch(rollout, now=now) if rollout.state == State.RUNNING else None,
        findings=frozenset(
            finding
            for finding, rows in findings(rollout, now=now).items()
            if finding == Finding.RETRIED or rows.exists()
        ),
    )


def load_progress(rollout: Deployment, *, now: datetime) -> Progress:
    """Load the figures of a rollout and its waves.

    A dynamic rollout whose waves have ended searches for late devices every
    `INTERVAL_SEARCH`.
    """
    statuses = UpdateStatus.objects.filter(deployment=rollout)
    failed, tried = _failures(rollout, statuses)
    remaining = statuses.open()
    is_over = rollout.state in (State.FINISHED, State.ABORTED)
    waves = _wave_figures(rollout, statuses.order_by())
    is_idle = rollout.dynamic and not {Wave.WAITING, Wave.RUNNING} & {wave.state for wave in waves}
    is_search_due = rollout.searched_at is None or rollout.searched_at <= now - INTERVAL_SEARCH
    return Progress(
        state=rollout.state,
        waves=waves,
        opened=rollout.opened,
        counted=rollout.counted,
        success_percent=rollout.success_percent,
        failure_percent=rollout.failure_percent,
        failed=failed,
        tried=tried,
        is_waiting=not (is_over or is_idle) or remaining.exists(),
        is_started=not is_over or remaining.exclude(status=Status.PENDING).exists(),
        is_retrying=rollout.retries_before is not None,
        is_dynamic=rollout.dynamic,
        has_late_devices=has_late_devices(rollout, now=now) if is_idle and is_search_due else None,
        ended_at=rollout.ended_at,
    )


def findings(rollout: Deployment, *, now: datetime) -> Mapping[Finding, Rows]:
    """Return for each finding the update rows that it concerns, in the order of handling.

    Versions are compared by the product's versioning scheme, so `2.1` equals `2.1.0`.
    Devices under way report few different versions, so one query per finding is enough.
    """
    under_way = UpdateStatus.objects.under_way().filter(deployment=rollout)
    has_version, has_newer, is_unreadable = _reported_versions(rollout, under_way)
    online = Q(device__status=Device.Status.ONLINE)
    installed = under_way.filter(installed_at__isnull=False)
    not_installed = under_way.filter(installed_at__isnull=True)
    installing = not_installed.filter(status=Status.INSTALLING)
    downloading = not_installed.filter(status=Status.DOWNLOADING)
    # It has reported that the version is installed, and has connected since then.
    came_back = installing.filter(online, progress=100, device__last_seen__gt=F("heard_at"))
    deadline = now - timedelta(minutes=rollout.deadline_minutes)
    download_deadline = min(now - MAX_DOWNLOAD_TIME, deadline)
    alerted = Exists(
        Alert.every_tenant.raised_since(OuterRef("installed_at")).filter(device=OuterRef("device"))
    )
    soaked = Q(installed_at__lte=now - timedelta(minutes=rollout.soak_minutes))
    rows: dict[Finding, Rows] = {
        Finding.ARRIVED: not_installed.filter(has_version, online),
        Finding.SUPERSEDED: under_way.filter(has_newer),
        Finding.REVERTED: installed.exclude(has_version | has_newer),
        Finding.ALERTED: installed.filter(alerted),
        Finding.PROVEN: installed.filter(has_version, soaked, online).exclude(alerted),
        # A device that goes offline in its soak time is not overdue, because screens are
        # switched off at night.
        Finding.UNREADABLE: came_back.filter(is_unreadable).select_related("device"),
        Finding.KEPT_OLD: came_back.filter(installations__gte=MAX_INSTALLATIONS)
        .exclude(has_version | has_newer)
        .select_related("device"),
        Finding.OVERDUE: installing.filter(Q(heard_at__lt=deadline) | Q(status_since__lt=deadline)),
        Finding.STALLED: downloading.filter(heard_at__lt=deadline),
        Finding.ENDLESS: downloading.filter(status_since__lt=download_deadline),
    }
    if rollout.retries_before is not None:
        rows[Finding.RETRIED] = UpdateStatus.objects.filter(
            deployment=rollout, status=Status.FAILED, ended_at__lte=rollout.retries_before
        ).select_related("device")
    if rollout.state == State.ABORTED:
        rows[Finding.STOPPED] = UpdateStatus.objects.stoppable().filter(deployment=rollout)
    return rows


def failed_devices(rollout: Deployment, rows: Collection[UpdateStatus]) -> dict[int, FailedDevice]:
    """Load the data that is needed to decide whether failed devices get another attempt.

    The keys are the primary keys of the update rows.
    """
    others = UpdateStatus.objects.filter(
        device__in=[row.device_id for row in rows], deployment__product=rollout.product
    )
    others = others.exclude(deployment=rollout).exclude(
        status__in=(Status.CANCELLED, Status.FAILED)
    )
    latest: dict[UUID, datetime] = {}
    for device_id, opened_at in others.values_list("device_id", "opened_at"):
        latest[device_id] = max(opened_at, latest.get(device_id, opened_at))
    return {
        row.pk: FailedDevice(
            order=compare_reported(
                getattr(row.device, rollout.product.reports),
                row.version,
                rollout.product.versioning,
            ),
            is_rollback=rollout.package_id is None,
            is_retired=row.device.status == Device.Status.RETIRED,
            was_given_other=latest.get(row.device_id, row.opened_at) > row.opened_at,
        )
        for row in rows
    }


def _reported_versions(rollout: Deployment, under_way: Rows) -> tuple[Q, Q, Q]:
    """Return three conditions on update rows.

    The device of the row runs the target version, or a newer version, or it reports since the
    installation a version that the product's versioning scheme cannot read.
    """
    product = rollout.product
    reported = f"device__{product.reports}"
    has_version = has_newer = is_unreadable = Q(pk__in=())
    pairs = under_way.order_by().values_list("version", reported).distinct()
    for version, value in pairs:
        order = compare_reported(value, version, product.versioning)
        condition = Q(version=version, **{reported: value})
        if order == 0:
            has_version |= condition
        elif order == 1 and rollout.package_id is not None:
            has_newer |= condition
        elif order is None and value:
            is_unreadable |= condition & ~Q(from_version=value)
    return has_version, has_newer, is_unreadable


def _failures(rollout: Deployment, statuses: Rows) -> tuple[int, int]:
    """Return how many devices have failed and how many have tried since `counts_from`."""
    ended = statuses.filter(ended_at__gte=rollout.counts_from, status__in=ENDED).aggregate(
        tried=Count("pk"), failed=Count("pk", filter=Q(status=Status.FAILED))
    )
    if not ended["failed"]:
        return 0, ended["tried"]
    # A device that went offline in its soak time has neither succeeded nor failed yet.
    away = Q(installed_at__isnull=False) & ~Q(device__status=Device.Status.ONLINE)
    under_way = UpdateStatus.objects.under_way().filter(deployment=rollout)
    return ended["failed"], ended["tried"] + under_way.exclude(away).count()


def _wave_figures(rollout: Deployment, statuses: Rows) -> list[WaveFigures]:
    counts: dict[Any, dict[str, int]] = {}
    grouped = statuses.values_list("wave", "status").annotate(number=Count("pk"))
    for wave_id, status, number in grouped:
        counts.setdefault(wave_id, {})[status] = number
    return [
        WaveFigures(
            number=wave.number,
            state=wave.state,
            is_open=wave.is_open,
            starts_at=wave.starts_at,
            opened_at=wave.opened_at,
            is_held=wave.held_at is not None,
            counts=_with_unreachable(wave, counts.get(wave.pk, {}), statuses),
        )
        for wave in rollout.waves.all()
    ]


def _with_unreachable(
    wave: DeploymentWave, counts: dict[str, int], statuses: Rows
) -> dict[str, int]:
    """Return the counts of a wave with the keys `unreached` and `away` added.

    In a passed wave, all pending devices are unreached.
    """
    if wave.state == Wave.WAITING:
        return {}
    unreached = counts.get(Status.PENDING, 0)
    if unreached and wave.state != Wave.PASSED:
        pending = statuses.filter(wave=wave, status=Status.PENDING)
        unreached -= _reachable(pending).count()
    away = 0
    if counts.get(Status.INSTALLING):
        installed = statuses.filter(wave=wave, status=Status.INSTALLING, installed_at__isnull=False)
        away = installed.count() - _reachable(installed).count()
    return {**counts, "unreached": unreached, "away": away}


def _reachable(rows: Rows) -> Rows:
    return rows.filter(device__status=Device.Status.ONLINE, device__quarantined_at__isnull=True)
