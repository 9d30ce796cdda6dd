"""The actions of a device: what to install, what to cancel, what is installed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from core.querysets import first_or_raise
from devices.hawkbit.errors import ActionClosed, ActionNotFound
from devices.hawkbit.models import HawkbitAction
from devices.registry.models import Device
from devices.updates.models import SoftwareUpdate, Status, UpdateStatus
from devices.updates.services import offers

CANCELLATION_PATIENCE = timedelta(hours=1)  # until an unconfirmed cancellation is given up
MAX_MESSAGES = 100  # of one action
MAX_MESSAGE_LENGTH = 512  # characters


@dataclass(frozen=True, slots=True)
class Work:
    """What a device should do now. At most one of the two is set."""

    install: HawkbitAction | None = None
    cancel: HawkbitAction | None = None


def current_work(device: Device, *, now: datetime) -> Work:
    """Return what a device should do. The first poll with an update creates its action.

    An update is not shown before its maintenance window opens and a download slot is free, or as
    long as its file lacks the hashes of this API: devices report that a download has failed if
    they have to wait for it. Later it is shown until it ends, because some devices report the end
    of an action only while they see it.
    """
    for action in _open_actions(device):
        update = update_of(action)
        if update is None or update.attempt != action.attempt:
            close_action(action, now=now)
        elif update.status == Status.CANCELLED:
            if now - (update.ended_at or now) < CANCELLATION_PATIENCE:
                return Work(cancel=action)
            close_action(action, now=now)  # not all devices know cancellations
        elif not _may_install(update):
            # The update has ended without a report of the device.
            close_action(action, has_succeeded=update.installed_at is not None, now=now)
        elif update.status != Status.PENDING or action.messages:
            return Work(install=action)
    found = offers.current_update(device, now=now)
    if found is None:
        return Work()
    update, window = found
    if update.package is None or not update.package.sha1 or not window.is_on:
        return Work()
    if offers.acquire_slot(device) is not None:
        return Work()
    action, _ = HawkbitAction.objects.get_or_create(
        device=device,
        deployment_id=update.deployment_id,
        attempt=update.attempt,
        defaults={"created_at": now},
    )
    return Work(install=action) if action.closed_at is None else Work()


def find_action(device: Device, action_id: int) -> HawkbitAction:
    """Return an action of a device.

    Raises:
        ActionNotFound: the device has no such action.
    """
    return first_or_raise(HawkbitAction.objects.filter(device=device, pk=action_id), ActionNotFound)


def installed_action(device: Device) -> HawkbitAction | None:
    """Return the action of the last update that the device has installed."""
    installed = HawkbitAction.objects.filter(device=device, has_succeeded=True)
    return installed.defer("messages").order_by("-id").first()


def cancelled_action(device: Device, action_id: int) -> HawkbitAction:
    """Return an action whose update was cancelled.

    Raises:
        ActionNotFound: the device has no such action, or it was not cancelled.
    """
    action = find_action(device, action_id)
    update = update_of(action)
    if update is None or update.status != Status.CANCELLED or update.attempt != action.attempt:
        raise ActionNotFound
    return action


def open_cancellation(device: Device, action_id: int) -> HawkbitAction:
    """Return an action that the device should cancel and has not ended yet.

    Raises:
        ActionNotFound: see `cancelled_action`.
        ActionClosed: the device has confirmed that already.
    """
    action = cancelled_action(device, action_id)
    if action.closed_at is not None:
        raise ActionClosed
    return action


def package_of(action: HawkbitAction) -> SoftwareUpdate:
    """Return the package of an action that is to be installed, or is installed.

    Raises:
        ActionNotFound: the update was cancelled or deleted, or the package has no file.
    """
    update = update_of(action)
    if update is None or update.package is None:
        raise ActionNotFound
    if update.status == Status.CANCELLED and not action.has_succeeded:
        raise ActionNotFound
    return update.package


def update_of(action: HawkbitAction) -> UpdateStatus | None:
    rows = UpdateStatus.objects.filter(device=action.device_id, deployment=action.deployment_id)
    return rows.select_related("deployment__product", "package__product").first()


def close_action(action: HawkbitAction, *, has_succeeded: bool = False, now: datetime) -> None:
    """End an action that is open."""
    HawkbitAction.objects.open().filter(pk=action.pk).update(
        closed_at=now, has_succeeded=has_succeeded
    )


@transaction.atomic
def add_messages(action: HawkbitAction, texts: Sequence[str]) -> None:
    """Store what a device says about an action. The oldest messages are given up."""
    if texts:
        row = HawkbitAction.objects.select_for_update().get(pk=action.pk)
        row.messages = [*row.messages, *(text[:MAX_MESSAGE_LENGTH] for text in texts)]
        row.messages = row.messages[-MAX_MESSAGES:]
        row.save(update_fields=["messages"])


def _open_actions(device: Device) -> list[HawkbitAction]:
    return list(HawkbitAction.objects.open().filter(device=device).order_by("id"))


def _may_install(update: UpdateStatus) -> bool:
    return update.ended_at is None and update.installed_at is None
