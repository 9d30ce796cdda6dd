"""Decide whether a registered device may register again."""

from datetime import datetime, timedelta

from django.db import transaction

from devices.registry.errors import (
    ReregistrationNotRequested,
    ReregistrationPending,
    ReregistrationRefused,
)
from devices.registry.events import ReregistrationAsked, ReregistrationDecided
from devices.registry.models import Device, EnrollmentToken, Reregistration, ReregistrationPolicy
from devices.registry.queries import lock_device
from events.services.outbox import record
from tenants.context import current_caller

REQUEST_VALIDITY = timedelta(hours=24)  # for a request and for its decision


class MemberDecisionRequired(Exception):
    """A member must decide. Roll back the registration, then request the decision."""

    def __init__(self, device: Device) -> None:
        super().__init__(device.pk)
        self.device = device


def check_reregistration(
    device: Device, enrollment_token: EnrollmentToken | None, *, now: datetime
) -> None:
    """Check that a locked device may get a new token.

    If a member has permitted the registration, the permission is deleted, because it is valid
    for one registration only.

    Args:
        enrollment_token: the token that the device sent; None if a member registers the device.

    Raises:
        ReregistrationRefused: the token's policy or a member refuses the registration.
        MemberDecisionRequired: no member has decided yet.
    """
    if enrollment_token is None or enrollment_token.reregistration == ReregistrationPolicy.ROTATE:
        return
    request = Reregistration.objects.filter(device=device).first()
    is_decided = (
        request is not None
        and request.decided_at is not None
        and request.decided_at > now - REQUEST_VALIDITY
    )
    if request is not None and is_decided and request.allowed:
        request.delete()  # a permission is valid for one registration
        return
    if enrollment_token.reregistration == ReregistrationPolicy.REFUSE:
        raise ReregistrationRefused(
            "This enrollment token does not allow a device to register again."
        )
    if not is_decided:
        raise MemberDecisionRequired(device)
    raise ReregistrationRefused("A member has denied this registration.")


def permit(device: Device, *, now: datetime) -> None:
    """Permit a locked device to register again once, without a request."""
    _store(Reregistration(device=device, asked_at=now, decided_at=now, allowed=True))


@transaction.atomic
def request_decision(device: Device, *, now: datetime) -> ReregistrationPending:
    """Request a member's decision on a re-registration, at most once a day.

    Returns:
        The error with which the caller answers the device.
    """
    lock_device(device.pk)
    request = Reregistration.objects.filter(device=device).first()
    cutoff = now - REQUEST_VALIDITY
    if request is None or (request.decided_at or request.asked_at) <= cutoff:
        _store(Reregistration(device=device, asked_at=now, address=current_caller().address))
        event = ReregistrationAsked(tenant_id=device.tenant_id, device_id=device.pk, at=now)
        record([event])
    return ReregistrationPending("A member must allow this device to register again.")


@transaction.atomic
def decide(*, device: Device, allow: bool, now: datetime) -> None:
    """Allow or deny a re-registration request. A later decision replaces an earlier one.

    Raises:
        ReregistrationNotRequested: the device has made no request within the last day.
        DeviceIsRetired: the device is retired.
    """
    lock_device(device.pk)
    requests = Reregistration.objects.filter(device=device, asked_at__gt=now - REQUEST_VALIDITY)
    if not requests.update(decided_at=now, allowed=allow):
        raise ReregistrationNotRequested(
            "The device has not requested to register again within the last day."
        )
    event = ReregistrationDecided(
        tenant_id=device.tenant_id, device_id=device.pk, at=now, allowed=allow
    )
    record([event])


def _store(row: Reregistration) -> None:
    Reregistration.objects.bulk_create(
        [row],
        update_conflicts=True,
        unique_fields=["device"],
        update_fields=["asked_at", "address", "decided_at", "allowed"],
    )
