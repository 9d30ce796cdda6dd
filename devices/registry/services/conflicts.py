"""Identifiers that several devices report: record them, and let a member decide."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db import transaction

from core.querysets import first_or_raise
from devices.registry.errors import (
    ConflictIsDecided,
    ConflictNotFound,
    ReregistrationPending,
    ReregistrationRefused,
    TooManyConflictingDevices,
)
from devices.registry.events import IdentifierConflictDecided, IdentifierConflictFound
from devices.registry.identifiers import Identifier
from devices.registry.identity import WEIGHTS, Contest, Decision
from devices.registry.models import (
    ConflictingDevice,
    Device,
    DeviceIdentifier,
    DeviceToken,
    EnrollmentToken,
    IdentifierConflict,
    ReregistrationPolicy,
)
from devices.registry.models.conflicts import identifier_pairs
from devices.registry.queries import lock_device
from devices.registry.services import device_identifiers
from devices.registry.services.reregistration import permit
from devices.registry.services.retirement import retire
from events.services.outbox import record
from tenants.context import current_caller

MAX_LOCKED = 10  # a conflict with more devices is not decided as the same device
SAME = IdentifierConflict.Decision.SAME
DIFFERENT = IdentifierConflict.Decision.DIFFERENT


class IdentityNotDecided(Exception):
    """It is not certain whose the identifiers are. Roll back, then call `request_decision`."""

    def __init__(self, decision: Decision, evidence: list[Identifier]) -> None:
        super().__init__(decision.device_id)
        self.decision, self.evidence = decision, evidence


def record_conflicts(contests: Iterable[Contest], *, other: Device, now: datetime) -> None:
    """Record that a registered device reports identifiers of other devices.

    An event is recorded the first time only. Call it in the transaction of the registration.
    """
    for contest in contests:
        conflict = _conflict(contest, now)
        row = ConflictingDevice(conflict=conflict, device=other, first_seen_at=now)
        is_new = not ConflictingDevice.objects.filter(conflict=conflict, device=other).exists()
        ConflictingDevice.objects.bulk_create([row], ignore_conflicts=True)
        if is_new:
            record([_found(conflict, other, now)])


@transaction.atomic
def request_decision(
    undecided: IdentityNotDecided, token: EnrollmentToken | None, *, now: datetime
) -> ReregistrationPending | ReregistrationRefused:
    """Record that a device waits until a member decides which device it is.

    Returns:
        The error with which the caller answers the device. Where the token's policy lets a
        member decide or needs no decision, it is `ReregistrationPending`.
    """
    decision, evidence = undecided.decision, undecided.evidence
    assert decision.device_id is not None
    rows = DeviceIdentifier.objects.matching(evidence).filter(device=decision.device_id)
    held = sorted((row.identifier for row in rows), key=lambda item: WEIGHTS[item.kind])
    if not held:  # the device was retired meanwhile; the next request is decided again
        return ReregistrationPending("The device changes. Try again.")
    shared = held[-1]
    conflict = _conflict(Contest(shared, decision.device_id), now)
    is_new = not conflict.waiting
    conflict.waiting = identifier_pairs(evidence)
    conflict.waiting_address = current_caller().address
    conflict.save(update_fields=["waiting", "waiting_address"])
    if is_new:
        record([_found(conflict, None, now)])
    for contest in decision.contests:  # the other devices that it may be
        ConflictingDevice.objects.bulk_create(
            [ConflictingDevice(conflict=conflict, device_id=contest.holder, first_seen_at=now)],
            ignore_conflicts=True,
        )
    if token is not None and token.reregistration == ReregistrationPolicy.REFUSE:
        return ReregistrationRefused(
            "The identifiers fit a registered device, and this enrollment token does not allow"
            " a device to register again."
        )
    return ReregistrationPending("A member must decide which device this is.")


@transaction.atomic
def decide(*, conflict: IdentifierConflict, decision: str, now: datetime) -> IdentifierConflict:
    """Decide whether the devices of a conflict are different devices or the same one.

    After `different`, the value identifies no device, and a device that waits is registered
    as a new one with its next request. After `same`, the holder takes over the identifiers and
    the token of the other record, which is retired.

    Args:
        decision: `different` or `same`.

    Raises:
        ConflictIsDecided: a member has decided meanwhile, or the holder was retired.
        TooManyConflictingDevices: several devices cannot be the same one.
    """
    others = conflict.others.values_list("device_id", flat=True)[:MAX_LOCKED]
    for device_id in sorted({conflict.holder_id, *others}):
        lock_device(device_id, allow_retired=True)  # in a fixed order
    rows = IdentifierConflict.objects.open().select_for_update(of=("self",))
    conflict = first_or_raise(rows.filter(pk=conflict.pk), ConflictIsDecided)
    merged = _merge(conflict, now) if decision == SAME else None
    conflict.decision, conflict.decided_at, conflict.waiting = decision, now, []
    conflict.save(update_fields=["decision", "decided_at", "waiting"])
    event = IdentifierConflictDecided(
        tenant_id=conflict.tenant_id,
        device_id=conflict.holder_id,
        at=now,
        identifier=f"{conflict.kind}:{conflict.value}",
        decision=decision,
        merged_device_id=merged,
    )
    record([event])
    return conflict


def get_conflict(conflict_id: UUID) -> IdentifierConflict:
    """Return a conflict of the current tenant.

    Raises:
        ConflictNotFound: the tenant has no conflict with this id.
    """
    rows = IdentifierConflict.objects.with_devices()
    return first_or_raise(rows.filter(pk=conflict_id), ConflictNotFound)


def other_devices(conflict: IdentifierConflict) -> list[Device]:
    """Return the devices that report the value besides the holder, without retired ones; at most two."""
    devices = Device.objects.not_retired().filter(conflicts__conflict=conflict)
    return list(devices[:2])


def _merge(conflict: IdentifierConflict, now: datetime) -> UUID | None:
    """Let the holder take over the other record. Return the id of the retired record."""
    holder = lock_device(conflict.holder_id)
    others = other_devices(conflict)
    if len(others) > 1:
        raise TooManyConflictingDevices
    identifiers = conflict.waiting_identifiers()
    for other in others:
        rows = DeviceIdentifier.objects.in_use().filter(device=other)
        identifiers = [*(row.identifier for row in rows), *identifiers]
        _move_token(other, holder)
        retire(device=other, reason=f"the same device as {holder.name}", now=now)
    free = _not_held_by_another(identifiers, holder)
    device_identifiers.give(holder, free, now=now)
    permit(holder, now=now)
    return others[0].pk if others else None


def _move_token(other: Device, holder: Device) -> None:
    """Let the token of the other record stand for the holder, because the device has it now."""
    token = DeviceToken.objects.filter(device=other).first()
    if token is not None:
        DeviceToken.objects.filter(device=holder).delete()
        DeviceToken.objects.filter(device=other).update(device=holder)


def _not_held_by_another(identifiers: Iterable[Identifier], holder: Device) -> list[Identifier]:
    """Return one serial number and one Android ID, and the MAC addresses, that are free.

    Of several serial numbers or Android IDs, the last one is kept: what waits comes last.
    """
    wanted = list(dict.fromkeys(identifiers))
    rows = DeviceIdentifier.objects.matching(wanted).exclude(device=holder)
    taken = {row.identifier for row in rows}
    free = [item for item in wanted if item not in taken]
    single = {item.kind: item for item in free if item.kind != "mac_address"}
    return sorted([*single.values(), *(item for item in free if item.kind == "mac_address")])


def _conflict(contest: Contest, now: datetime) -> IdentifierConflict:
    """Return the locked row of a contested identifier.

    It is opened again after it was decided that the devices are the same.
    """
    kind, value = contest.identifier.kind, contest.identifier.value
    new = IdentifierConflict(
        kind=kind, value=value, holder_id=contest.holder, first_seen_at=now, last_seen_at=now
    )
    IdentifierConflict.objects.bulk_create([new], ignore_conflicts=True)
    row = IdentifierConflict.objects.select_for_update().get(kind=kind, value=value)
    row.holder_id, row.last_seen_at = contest.holder, now
    if row.decision == SAME:
        row.decision, row.decided_at = "", None
    row.save(update_fields=["holder", "last_seen_at", "decision", "decided_at"])
    return row


def _found(
    conflict: IdentifierConflict, other: Device | None, now: datetime
) -> IdentifierConflictFound:
    return IdentifierConflictFound(
        tenant_id=conflict.tenant_id,
        device_id=conflict.holder_id,
        at=now,
        identifier=f"{conflict.kind}:{conflict.value}",
        holder_name=Device.objects.get(pk=conflict.holder_id).name,
        other_device_id=other.pk if other else None,
        other_device_name=other.name if other else "",
    )
