"""What comes of a known box that registers again: its enrollment token says so."""

from datetime import datetime, timedelta

from django.db import transaction

from devices.registry.errors import (
    NobodyAsks,
    ReregistrationPending,
    ReregistrationRefused,
)
from devices.registry.events import ReregistrationAsked, ReregistrationDecided
from devices.registry.models import (
    Device,
    EnrollmentToken,
    Reregistering,
    Reregistration,
)
from devices.registry.queries import hold
from events.services.outbox import record
from tenants.context import current_caller

GOOD_FOR = timedelta(hours=24)  # a question and its answer


class MustAsk(Exception):
    """A member has to be asked, once the transaction of the registration is undone."""

    def __init__(self, device: Device) -> None:
        super().__init__(device.pk)
        self.device = device


def admit(device: Device, admission: EnrollmentToken | None, *, now: datetime) -> None:
    """See that a held device may get a fresh token for this enrollment token.

    Raises:
        ReregistrationRefused: the token's policy or a member says no.
        MustAsk: nobody has decided yet.
    """
    if admission is None or admission.reregistration == Reregistering.ROTATE:
        return
    if admission.reregistration == Reregistering.REFUSE:
        raise ReregistrationRefused("This token lets no known box in a second time.")
    asked = Reregistration.objects.filter(device=device).first()
    if asked is None or asked.decided_at is None or asked.decided_at <= now - GOOD_FOR:
        raise MustAsk(device)
    if not asked.allowed:
        raise ReregistrationRefused("A member has denied this registration.")
    asked.delete()  # one answer lets a box in once


@transaction.atomic
def ask(device: Device, *, now: datetime) -> ReregistrationPending:
    """Put the question to the members, once a day at most; the refusal to answer with."""
    hold(device.pk)
    asked = Reregistration.objects.filter(device=device).first()
    if asked is None or (asked.decided_at or asked.asked_at) <= now - GOOD_FOR:
        fresh = Reregistration(
            device=device, asked_at=now, address=current_caller().address
        )
        Reregistration.objects.bulk_create(
            [fresh],
            update_conflicts=True,
            unique_fields=["device"],
            update_fields=["asked_at", "address", "decided_at", "allowed"],
        )
        fact = ReregistrationAsked(
            tenant_id=device.tenant_id, device_id=device.pk, at=now
        )
        record([fact])
    return ReregistrationPending("A member has to allow this box to register again.")


@transaction.atomic
def decide(*, device: Device, allow: bool, now: datetime) -> None:
    """Answer a box that asks; whoever decides last within the day is right.

    Raises:
        NobodyAsks: no box of this device has asked within the last day.
        DeviceIsRetired: it is.
    """
    hold(device.pk)
    asked = Reregistration.objects.filter(device=device, asked_at__gt=now - GOOD_FOR)
    if not asked.update(decided_at=now, allowed=allow):
        raise NobodyAsks("No box has asked to register again as this device.")
    fact = ReregistrationDecided(
        tenant_id=device.tenant_id, device_id=device.pk, at=now, allowed=allow
    )
    record([fact])
