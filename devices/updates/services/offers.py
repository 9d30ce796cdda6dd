"""Select the update that a device is offered, and admit the download of its package."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Case, IntegerField, Value, When

from core.weekly_times import State
from devices.configurations.services.effective import document_of
from devices.registry import signature_algorithms
from devices.registry.models import Device, DeviceHardware, NextSteps
from devices.remote_control.services import signing_keys
from devices.updates.errors import DownloadsBusy, UpdateNotDue, UpdateNotFound
from devices.updates.models import (
    Deployment,
    SoftwareUpdate,
    Status,
    UpdateSigningKey,
    UpdateStatus,
)
from devices.updates.services import (
    downloads,
    next_steps,
    policies,
    signing,
    status_changes,
    targets,
)
from devices.updates.update_windows import window_state
from devices.updates.versions import compare_reported

MAX_WAIT = 3600  # seconds
MAX_SLOTS = 10**9  # no limit
DEFAULT_ZONE = "UTC"
EXCLUSION_MESSAGES = {
    "newer": "The device runs a newer version now.",
    "model": "The package is for other models.",
    "moved_on": "The device runs another version now.",
    "minimum_version": "The device's version is older than the minimum version.",
    "android_version": "The package needs a newer Android than the device has.",
    "abi": "The package has no native libraries for the device's processor.",
}


@dataclass(frozen=True, slots=True)
class Offer:
    """An update that a device is offered, with the state of its maintenance window.

    `order` is a signed instruction for this device (see `signing.order`), and `signature` is that
    of the package; empty without a package.
    """

    status: UpdateStatus
    window: State
    order: str
    signature: str

    @property
    def not_before(self) -> datetime | None:
        return None if self.window.is_on else self.window.until


def current_offer(device: Device, *, now: datetime) -> Offer | None:
    """Return the update that a device of the current tenant should install now, or None.

    An update that is being installed comes first, then the newest update. A paused rollout
    is offered only to devices that have started the download. Updates that the device
    should no longer start are ended.
    """
    found = current_update(device, now=now)
    return None if found is None else _signed(*found, device, now)


def current_update(device: Device, *, now: datetime) -> tuple[UpdateStatus, State] | None:
    """Return what `current_offer` offers, without signatures, and the state of the windows."""
    for row in _offered_updates(device):
        reason = None
        if row.status != Status.INSTALLING:
            reason = _exclusion_reason(row, device)
        if reason is None:
            return row, _window(row.deployment, device, now)
        _end_excluded(row, reason, now)
    return None


def claim_download(
    device: Device, package_id: UUID, *, is_admitted: bool = False, now: datetime
) -> SoftwareUpdate:
    """Acquire a download slot for a device and mark its update as downloading.

    Args:
        is_admitted: window and slots were checked when the device was told to download.

    Returns:
        The package to send.

    Raises:
        UpdateNotFound: the device is not offered this package now.
        UpdateNotDue: the maintenance window is closed.
        DownloadsBusy: all download slots are in use.
    """
    found = current_update(device, now=now)
    if found is None:
        raise UpdateNotFound
    row, window = found
    package = row.package
    if package is None or package.pk != package_id:
        raise UpdateNotFound
    if is_admitted:
        downloads.acquire_slot(device.pk, limit=MAX_SLOTS)
    elif not window.is_on:
        raise UpdateNotDue(_wait(window.until, now))
    elif (wait := acquire_slot(device)) is not None:
        raise DownloadsBusy(wait)
    rows = UpdateStatus.objects.filter(pk=row.pk)
    reported = getattr(device, row.deployment.product.reports)
    keeps = row.from_version != "" and (row.attempt > 1 or reported == row.version)
    rows.filter(status=Status.PENDING).update(
        status=Status.DOWNLOADING,
        started_at=now,
        status_since=now,
        heard_at=now,
        from_version=row.from_version if keeps else reported,
    )
    rows.filter(status=Status.DOWNLOADING).update(heard_at=now)
    return package


def acquire_slot(device: Device) -> int | None:
    """Acquire a download slot. Return None, or the seconds until the next attempt."""
    limit = policies.current_policy().concurrent_downloads
    return downloads.acquire_slot(device.pk, limit=limit)


def _offered_updates(device: Device) -> Iterator[UpdateStatus]:
    """Yield the device's open updates in the order in which they are offered.

    Installed updates in their soak time need nothing from the device and are left out.
    """
    installing_first = Case(
        When(status=Status.INSTALLING, then=Value(0)), default=Value(1), output_field=IntegerField()
    )
    rows = UpdateStatus.objects.open().filter(device=device, installed_at__isnull=True)
    rows = rows.select_related(
        "deployment__product", "package__product", "deployment__rolls_back__package"
    )
    for row in rows.order_by(installing_first, "-opened_at", "-id"):
        if is_offered(row):
            yield row


def is_offered(row: UpdateStatus) -> bool:
    """Return True if an update is offered in the current states of its rollout and package."""
    state = row.deployment.state
    if row.package is not None and row.package.state != SoftwareUpdate.State.RELEASED:
        return False
    if row.status == Status.INSTALLING:
        return True
    if state == Deployment.State.PAUSED:
        return row.status == Status.DOWNLOADING
    return state != Deployment.State.ABORTED


def _signed(row: UpdateStatus, window: State, device: Device, now: datetime) -> Offer:
    """Return an offer with signatures that the device can verify."""
    algorithm = signature_algorithms.of_device(device)
    key, package = _key(algorithm, now), row.package
    signature = package.signature if package else ""
    if package is not None and algorithm != signature_algorithms.EDDSA:
        signature = signing.signature(package, key, now=now)
    return Offer(row, window, signing.order(row, key, now=now), signature)


def _key(algorithm: str, now: datetime) -> UpdateSigningKey:
    """Return the current signing key. Do not wait for a concurrent replacement of the key."""
    key = signing_keys.active(UpdateSigningKey, algorithm)
    if key is not None:
        return key
    with transaction.atomic():
        return signing.current_key(algorithm, now=now)


def _exclusion_reason(row: UpdateStatus, device: Device) -> str | None:
    """Return why a device should no longer start an update; None if it may start the update."""
    reported = getattr(device, row.deployment.product.reports)
    versioning = row.deployment.product.versioning
    original = row.deployment.rolls_back
    if original is not None:
        if compare_reported(reported, row.version, versioning) == 0:
            return "up_to_date"
        assert original.package is not None
        order = compare_reported(reported, original.package.version, versioning)
        return None if order == 0 else "moved_on"
    assert row.package is not None
    values = targets.Reported(reported, device.model, device.os_version, _abis(row.package, device))
    return targets.exclusion_reason(row.package, values)


def _abis(package: SoftwareUpdate, device: Device) -> Sequence[str]:
    """Return the ABIs of a device, if the package depends on them."""
    if not (package.apk or {}).get("abis"):
        return ()
    hardware = DeviceHardware.objects.filter(device=device).first()
    return hardware.abis if hardware else ()


def _window(rollout: Deployment, device: Device, now: datetime) -> State:
    """Return the state of a rollout's maintenance windows for a device.

    The time zone is in the configuration of the device.
    """
    if not rollout.windows:
        return State(True, None)
    row = NextSteps.objects.filter(device=device).first()
    version = row.configuration_version if row else None
    document = document_of(version) if version else None
    zone = (document or {}).get("time_zone", DEFAULT_ZONE)
    return window_state(rollout.windows, zone, now)


@transaction.atomic
def _end_excluded(row: UpdateStatus, reason: str, now: datetime) -> None:
    """End an update that does not fit the current version or model of the device."""
    same = UpdateStatus.objects.stoppable().filter(pk=row.pk)
    rows = status_changes.lock(same.select_related("deployment"))
    if reason != "up_to_date":
        sentence = EXCLUSION_MESSAGES.get(reason, "")
        status_changes.cancel(rows, code=reason, sentence=sentence, now=now)
    elif row.status == Status.PENDING and row.attempt == 1:
        # The device got the version in another way and never tried this update.
        status_changes.complete(rows, now=now)
    else:  # the device tried the update, so its soak time starts
        for locked in rows:
            locked.status, locked.progress = Status.INSTALLING, 100
            locked.installed_at = locked.started_at = locked.heard_at = now
        names = ["status", "progress", "installed_at", "started_at", "heard_at"]
        UpdateStatus.objects.bulk_update(rows, names)
        next_steps.refresh_updates_waiting({locked.device_id for locked in rows})


def _wait(until: datetime | None, now: datetime) -> int:
    if until is None:
        return MAX_WAIT
    return max(1, min(MAX_WAIT, int((until - now).total_seconds()) + 1))
