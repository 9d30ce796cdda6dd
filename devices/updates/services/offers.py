"""What a device is to install now, and whether it may have the file."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Case, IntegerField, Value, When

from devices.configurations.services.effective import document_of
from devices.registry.models import Device, NextSteps
from devices.updates.errors import DownloadsBusy, NotYet, NoUpdateForThisDevice
from devices.updates.models import (
    Deployment,
    SoftwareUpdate,
    Status,
    UpdateSigningKey,
    UpdateStatus,
)
from devices.updates.services import (
    downloads,
    policies,
    signing,
    status_changes,
    targets,
)
from devices.updates.services import (
    next_steps as steps,
)
from devices.updates.update_windows import Opening, opening
from devices.updates.versions import compared

MOST_WAIT = 3600  # seconds
USUAL_ZONE = "UTC"
LEFT_OUT = {
    "newer": "The device has a newer version by now.",
    "model": "The package is for other models.",
    "moved_on": "The device runs another version by now.",
    "minimum_version": "The device's version is too old for it by now.",
}


@dataclass(frozen=True, slots=True)
class Offer:
    """An update for a device, with whether it may begin now; `order` is a JWS."""

    status: UpdateStatus
    window: Opening
    order: str

    @property
    def not_before(self) -> datetime | None:
        return None if self.window.is_open else self.window.until


def current(device: Device, *, now: datetime) -> Offer | None:
    """What the current tenant's device is to have: the newest that is meant for it.

    What is being installed comes to its end first. A rollout that is paused is offered
    to whom has begun only.
    """
    for row in _meant_for(device):
        reason = None if row.status == Status.INSTALLING else _left_out(row, device)
        if reason is None:
            window = _window(row.deployment, device, now)
            return Offer(row, window, signing.order(row, _key(now), now=now))
        _leave_out(row, reason, now)
    return None


def file_for(device: Device, package_id: UUID, *, now: datetime) -> SoftwareUpdate:
    """The package whose file a device may have now; it is downloading from now on.

    Raises:
        NoUpdateForThisDevice: it is not meant to have it.
        NotYet: its window is closed.
        DownloadsBusy: others have their turn.
    """
    offer = current(device, now=now)
    package = None if offer is None else offer.status.package
    if offer is None or package is None or package.pk != package_id:
        raise NoUpdateForThisDevice
    row = offer.status
    if not offer.window.is_open:
        raise NotYet(_wait(offer.window.until, now))
    most = policies.of_tenant().concurrent_downloads
    wait = downloads.take_place(device.pk, most=most)
    if wait is not None:
        raise DownloadsBusy(wait)
    begun = UpdateStatus.objects.filter(pk=row.pk)
    had = getattr(device, row.deployment.product.reports)
    keeps = row.from_version != "" and (row.attempt > 1 or had == row.version)
    begun.filter(status=Status.PENDING).update(
        status=Status.DOWNLOADING,
        started_at=now,
        heard_at=now,
        from_version=row.from_version if keeps else had,
    )
    begun.filter(status=Status.DOWNLOADING).update(heard_at=now)
    return package


def _meant_for(device: Device) -> Iterator[UpdateStatus]:
    """What a device may have, in turn; what has only to prove itself waits for nobody."""
    installing_first = Case(
        When(status=Status.INSTALLING, then=Value(0)),
        default=Value(1),
        output_field=IntegerField(),
    )
    rows = UpdateStatus.objects.open().filter(device=device, installed_at__isnull=True)
    related = (
        *("deployment__product", "package__product"),
        "deployment__rolls_back__package",
    )
    for row in rows.select_related(*related).order_by(
        installing_first, "-opened_at", "-id"
    ):
        if is_offered(row):
            yield row


def is_offered(row: UpdateStatus) -> bool:
    """Whether its rollout, and its package, still let a device have it."""
    state = row.deployment.state
    if row.package is not None and row.package.state != SoftwareUpdate.State.RELEASED:
        return False
    if row.status == Status.INSTALLING:
        return True
    if state == Deployment.State.PAUSED:
        return row.status == Status.DOWNLOADING
    return state != Deployment.State.ABORTED


def _key(now: datetime) -> UpdateSigningKey:
    """The key that signs now; without waiting for who replaces it."""
    found: UpdateSigningKey | None = UpdateSigningKey.objects.filter(
        replaced_at__isnull=True
    ).first()
    if found is not None:
        return found
    with transaction.atomic():
        return signing.current_key(now=now)


def _left_out(row: UpdateStatus, device: Device) -> str | None:
    """Why a device is not to begin what it was given; None if it is."""
    reported = getattr(device, row.deployment.product.reports)
    versioning = row.deployment.product.versioning
    back_from = row.deployment.rolls_back
    if back_from is not None:
        if compared(reported, row.version, versioning) == 0:
            return "up_to_date"
        assert back_from.package is not None
        runs_it = compared(reported, back_from.package.version, versioning) == 0
        return None if runs_it else "moved_on"
    assert row.package is not None
    return targets.unfit(row.package, model=device.model, version=reported)


def _window(deployment: Deployment, device: Device, now: datetime) -> Opening:
    """By the device's own clock, if its configuration says where it hangs."""
    if not deployment.windows:
        return Opening(True, None)
    steps: NextSteps | None = NextSteps.objects.filter(device=device).first()
    version = steps.configuration_version if steps else None
    document = document_of(version) if version else None
    zone = (document or {}).get("time_zone", USUAL_ZONE)
    return opening(deployment.windows, ZoneInfo(zone), now)


@transaction.atomic
def _leave_out(row: UpdateStatus, reason: str, now: datetime) -> None:
    """The device came to another version since it was given this."""
    same = UpdateStatus.objects.stoppable().filter(pk=row.pk)
    rows = status_changes.lock(same.select_related("deployment"))
    if reason != "up_to_date":
        sentence = LEFT_OUT.get(reason, "")
        status_changes.cancel(rows, code=reason, sentence=sentence, now=now)
    elif row.status == Status.PENDING and row.attempt == 1:
        status_changes.complete(rows, now=now)  # in another way: nothing was tried
    else:  # it has tried: it has to prove that it works now
        for one in rows:
            one.status, one.progress, one.installed_at = Status.INSTALLING, 100, now
            one.started_at = one.heard_at = now
        names = ["status", "progress", "installed_at", "started_at", "heard_at"]
        UpdateStatus.objects.bulk_update(rows, names)
        steps.settle({one.device_id for one in rows})


def _wait(until: datetime | None, now: datetime) -> int:
    if until is None:
        return MOST_WAIT
    return max(1, min(MOST_WAIT, int((until - now).total_seconds()) + 1))
