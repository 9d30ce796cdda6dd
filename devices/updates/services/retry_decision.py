"""Decide whether a device whose update failed gets another attempt."""

from dataclasses import dataclass

from devices.updates.models import Status


@dataclass(frozen=True, slots=True)
class FailedDevice:
    """A device whose update failed. A member has requested another attempt."""

    order: int | None  # its version is older (-1), equal (0) or newer (1); None if unknown
    is_rollback: bool
    is_retired: bool
    was_given_other: bool  # another rollout offered it a later update


def retry_status(device: FailedDevice) -> Status:
    """Return the new status of a failed update for which a member requested a retry.

    The update is cancelled if the device is retired, runs a newer version, or was offered
    an update by another rollout meanwhile. If the device already runs the version, its
    soak time starts, and the status is installing. Otherwise the update is pending.
    """
    is_newer = device.order == 1 and not device.is_rollback
    if is_newer or device.is_retired or device.was_given_other:
        return Status.CANCELLED
    return Status.INSTALLING if device.order == 0 else Status.PENDING
