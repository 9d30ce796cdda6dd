"""What a device is to install now, and whether it may have the file."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Case, IntegerField, Value, When

from devices.configurations.effective import document_of
from devices.models import Device, NextSteps
from devices.updates import downloads, endings, policies
from devices.updates.errors import DownloadsBusy, NotYet, NoUpdateForThisDevice
from devices.updates.models import (
    Deployment,
    SoftwareUpdate,
    Status,
    UpdateStatus,
)
from devices.updates.windows import Opening, opening

RESTS_FOR = 300  # seconds after which to ask again while a rollout is paused
MOST_WAIT = 3600  # seconds
USUAL_ZONE = "UTC"


@dataclass(frozen=True, slots=True)
class Offer:
    """An update for a device, with whether it may begin now."""

    status: UpdateStatus
    window: Opening

    @property
    def not_before(self) -> datetime | None:
        return None if self.window.is_open else self.window.until


def current(device: Device, *, now: datetime) -> Offer | None:
    """What the current tenant's device is to have: the newest that is meant for it.

    What is being installed comes to its end first. A rollout that is paused is offered
    to whom has begun only.
    """
    row = _meant_for(device)
    if row is None:
        return None
    reported = getattr(device, row.deployment.product.reports)
    if row.status == Status.PENDING and reported == row.version:
        _has_it_already(row, now)
        return None
    return Offer(row, _window(row.deployment, device, now))


def file_for(device: Device, package_id: UUID, *, now: datetime) -> SoftwareUpdate:
    """The package whose file a device may have now; it is downloading from now on.

    Raises:
        NoUpdateForThisDevice: it is not meant to have it.
        NotYet: its window is closed.
        DownloadsBusy: others have their turn.
    """
    offer = current(device, now=now)
    if offer is None or offer.status.package is None:
        raise NoUpdateForThisDevice
    row, package = offer.status, offer.status.package
    if package.pk != package_id:
        raise NoUpdateForThisDevice
    if not offer.window.is_open:
        raise NotYet(_wait(offer.window.until, now))
    most = policies.of_tenant().concurrent_downloads
    wait = downloads.take_place(device.pk, most=most)
    if wait is not None:
        raise DownloadsBusy(wait)
    begun = UpdateStatus.objects.filter(pk=row.pk)
    begun.filter(status=Status.PENDING).update(
        status=Status.DOWNLOADING,
        started_at=now,
        heard_at=now,
        from_version=getattr(device, row.deployment.product.reports),
    )
    begun.filter(status=Status.DOWNLOADING).update(heard_at=now)
    return package


def _meant_for(device: Device) -> UpdateStatus | None:
    installing_first = Case(
        When(status=Status.INSTALLING, installed_at__isnull=True, then=Value(0)),
        default=Value(1),
        output_field=IntegerField(),
    )
    rows = UpdateStatus.objects.open().filter(device=device)
    related = ("deployment__product", "package__product")
    for row in rows.select_related(*related).order_by(
        installing_first, "-opened_at", "-id"
    ):
        if is_offered(row):
            return row
    return None


def is_offered(row: UpdateStatus) -> bool:
    """Whether its rollout, and its package, still let a device have it."""
    state = row.deployment.state
    if row.status == Status.INSTALLING:
        return True
    if row.package is not None and row.package.state != SoftwareUpdate.State.RELEASED:
        return False
    if state == Deployment.State.PAUSED:
        return row.status == Status.DOWNLOADING
    return state != Deployment.State.ABORTED


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
def _has_it_already(row: UpdateStatus, now: datetime) -> None:
    """It came to it in another way: there is nothing to do, and nothing was tried."""
    same = UpdateStatus.objects.filter(pk=row.pk, status=Status.PENDING)
    rows = endings.held(same.select_related("deployment"))
    endings.complete(rows, now=now)


def _wait(until: datetime | None, now: datetime) -> int:
    if until is None:
        return MOST_WAIT
    return max(1, min(MOST_WAIT, int((until - now).total_seconds()) + 1))
