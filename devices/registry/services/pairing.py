"""Pair devices that have no credential.

A device shows a code, and a member approves the pairing with this code. The flow is the
OAuth 2.0 device authorization grant (RFC 8628) with a device token in place of the access
token.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F

from core.encryption import keyed_digests
from core.ignored import Ignored
from core.limits import Limit, LimiterUnavailable
from core.querysets import first_or_raise
from devices.registry.device_report import DeviceReport
from devices.registry.errors import (
    AccessDenied,
    AuthorizationPending,
    ExpiredToken,
    IdentityUndecided,
    PairingAlreadyDecided,
    PairingNotFound,
    SlowDown,
    TooManyPairings,
)
from devices.registry.events import PairingApproved
from devices.registry.identity import Verdict
from devices.registry.models import Device, Pairing, Site
from devices.registry.services import conflicts, device_details, registration
from devices.registry.services.conflicts import IdentityNotDecided
from devices.registry.services.device_details import UNCHANGED
from devices.registry.services.identification import identify
from devices.registry.services.registration import Registration
from devices.registry.services.tags import tag_names
from events.services.outbox import record
from tenants import tokens
from tenants.context import caller_network, current_caller, current_tenant_id, tenant_scope
from tenants.suspension import require_active

ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels, so no words (RFC 8628 §6.1)
CODE_LENGTH = 8  # 34 bits; lookups are limited per member and per address
LIFETIME = timedelta(minutes=10)
INTERVAL = 5  # seconds between two polls
SLOW_DOWN_STEP = 5  # seconds that `slow_down` adds (RFC 8628 §3.5)
MAX_PENDING_PER_ADDRESS = 20  # more would exceed the poll limit of the address
MAX_LOOKUPS = 20  # per code
PURPOSE = "pairing code"
PREFIX = "pai_"

BY_MEMBER = Limit("pairing_member", fails_open=False)
BY_ADDRESS = Limit("pairing_address", fails_open=False)


@dataclass(frozen=True, slots=True)
class PairingCodes:
    """The codes for a device. The database stores digests of them only."""

    device_code: str
    user_code: str  # formatted: WDJB-MJHT
    expires_in: int  # seconds
    interval: int  # seconds
    ignored: Sequence[Ignored]  # what could not be used of the report


def start(*, report: DeviceReport, now: datetime) -> PairingCodes:
    """Start a pairing and return its two codes.

    Raises:
        IdentifierRequired: no identifier of the report is usable.
        TooManyPairings: this address has too many pending pairings.
    """
    _, ignored = report.usable_identifiers()
    address = current_caller().address
    pending = Pairing.objects.waiting(now).filter(address=address)
    if pending[:MAX_PENDING_PER_ADDRESS].count() >= MAX_PENDING_PER_ADDRESS:
        raise TooManyPairings("This address has too many pending pairings.")
    device_code = tokens.make(PREFIX)
    while True:
        user_code = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
        try:
            with transaction.atomic():
                _delete_expired_code(user_code, now)
                Pairing.objects.create(
                    device_code_digest=tokens.digest(device_code),
                    user_code_digest=keyed_digests(user_code, purpose=PURPOSE)[0],
                    report=asdict(report),
                    address=address,
                    requested_at=now,
                    expires_at=now + LIFETIME,
                    interval=INTERVAL,
                )
        except IntegrityError:
            continue  # another pending pairing has the same code
        return PairingCodes(
            device_code,
            format_user_code(user_code),
            int(LIFETIME.total_seconds()),
            INTERVAL,
            ignored,
        )


def find(user_code: str, *, now: datetime) -> Pairing:
    """Return the pending pairing with this user code. A member then reviews the pairing.

    Raises:
        PairingNotFound: no pending pairing has this code.
        TooManyPairings: this member or this address has entered too many codes, or this
            code was looked up too often.
    """
    _limit_lookups()
    digests = keyed_digests(normalize_user_code(user_code), purpose=PURPOSE)
    pending = Pairing.objects.waiting(now).filter(user_code_digest__in=digests)
    pairing = first_or_raise(
        pending,
        PairingNotFound(
            "No device shows this code now. A code is valid for ten minutes. Restart"
            " pairing on the device to get a new one."
        ),
    )
    below_limit = Pairing.objects.filter(pk=pairing.pk, looks__lt=MAX_LOOKUPS)
    if not below_limit.update(looks=F("looks") + 1):
        raise TooManyPairings("This code was looked up too often.")
    return pairing


def approve(
    *,
    pairing_id: UUID,
    name: str = "",
    tags: Iterable[str] = (),
    site: Site | None = None,
    now: datetime,
) -> Device:
    """Approve a pairing: register the device in the current tenant.

    The device fetches its token with the next poll. A device that the tenant has already
    registered keeps its row, and the new tags are added to its tags.

    Args:
        name: the device's name; "" for the existing name of a registered device, or for the
            reported name of a new device.
        site: where the device stands; None for the existing site of a registered device.

    Raises:
        PairingAlreadyDecided: the pairing was decided by somebody else or has expired.
        InvalidSite: the site was deleted.
        IdentityUndecided: it is not certain which device it is. A member must decide first.
        InvalidTag: see `set_tags`.
    """
    require_active(current_tenant_id())
    try:
        return _approve(pairing_id, name, tags, site, now)
    except IdentityNotDecided as error:
        conflicts.request_decision(error, None, now=now)
        ids = [error.decision.device_id, *(item.holder for item in error.decision.contests)]
        raise IdentityUndecided(Device.objects.filter(pk__in=ids)) from None


@transaction.atomic
def _approve(
    pairing_id: UUID, name: str, tags: Iterable[str], site: Site | None, now: datetime
) -> Device:
    pairing = _lock_pending(pairing_id, now)
    report = report_of(pairing)
    identifiers, _ = report.usable_identifiers()
    decision = identify(identifiers).decision
    if decision.verdict is Verdict.UNDECIDED:
        raise IdentityNotDecided(decision, identifiers)
    if decision.device_id is not None:
        device = registration.get_not_retired_device(decision.device_id)
        tags = {*tag_names(device), *tags}
        device_details.update(
            device=device, name=name or None, tags=tags, site=site or UNCHANGED, now=now
        )
    else:
        report = replace(report, name=name or report.name)
        device = registration.register_identified(
            report, decision.own, tags=tags, site=site, now=now
        )
    conflicts.record_conflicts(decision.contests, other=device, now=now)
    pairing.status = Pairing.Status.APPROVED
    pairing.tenant_id, pairing.device_id = current_tenant_id(), device.pk
    pairing.decided_at, pairing.expires_at = now, now + LIFETIME
    pairing.save()
    event = PairingApproved(
        tenant_id=device.tenant_id,
        device_id=device.pk,
        at=now,
        identifiers=[f"{item.kind}:{item.value}" for item in identifiers],
        box_address=pairing.address,
    )
    record([event])
    return device


@transaction.atomic
def deny(*, pairing_id: UUID, now: datetime) -> None:
    """Deny a pairing.

    Raises:
        PairingAlreadyDecided: the pairing was decided by somebody else or has expired.
    """
    pairing = _lock_pending(pairing_id, now)
    pairing.status, pairing.decided_at = Pairing.Status.DENIED, now
    pairing.save()


def poll(*, device_code: str, now: datetime) -> Registration:
    """Return the registration of an approved pairing. It is returned only once.

    Raises:
        AuthorizationPending: no member has decided yet.
        SlowDown: the device polled sooner than the interval allows.
        AccessDenied: a member denied the pairing, or the device was retired or changed
            after the approval.
        ExpiredToken: the pairing has expired, the token was fetched already, or the code
            is unknown.
    """
    # `_poll` returns errors, because raising them would roll back its transaction.
    result = _poll(device_code, now)
    if isinstance(result, Exception):
        raise result
    require_active(result.device.tenant_id)
    return result


def delete_expired(*, now: datetime) -> int:
    """Delete pairings that expired more than a day ago. Return the number of pairings."""
    return Pairing.objects.expired_before(now - timedelta(days=1)).delete()[0]


def format_user_code(user_code: str) -> str:
    """Format a user code for display as two groups of four letters."""
    return f"{user_code[:4]}-{user_code[4:]}"


def normalize_user_code(user_code: str) -> str:
    """Remove separators and normalise the case of a typed code (RFC 8628 §6.1)."""
    return "".join(letter for letter in user_code.upper() if letter in ALPHABET)


def report_of(pairing: Pairing) -> DeviceReport:
    """Return the device report that started the pairing."""
    fields: dict[str, Any] = dict(pairing.report)
    return DeviceReport(**{**fields, "mac_addresses": tuple(fields["mac_addresses"])})


@transaction.atomic
def _poll(device_code: str, now: datetime) -> Registration | Exception:
    digest = tokens.digest(device_code)
    rows = Pairing.objects.select_for_update().filter(device_code_digest=digest)
    pairing = rows.first()
    if pairing is None or not tokens.matches(device_code, pairing.device_code_digest):
        return ExpiredToken("The device code is unknown.")
    too_soon = pairing.polled_at is not None and now < pairing.polled_at + timedelta(
        seconds=pairing.interval
    )
    pairing.polled_at = now
    result = _complete(pairing, now, too_soon=too_soon)
    pairing.save()
    return result


def _complete(pairing: Pairing, now: datetime, *, too_soon: bool) -> Registration | Exception:
    if pairing.status == Pairing.Status.COMPLETED:
        return ExpiredToken("The token has already been fetched.")
    if pairing.expires_at <= now:
        return ExpiredToken("The code has expired. Start the pairing again.")
    if pairing.status == Pairing.Status.DENIED:
        return AccessDenied("A member has denied this pairing.")
    if too_soon:
        pairing.interval += SLOW_DOWN_STEP
        return SlowDown(f"Poll at most every {pairing.interval} seconds.")
    if pairing.status == Pairing.Status.PENDING:
        return AuthorizationPending("No member has approved this pairing yet.")
    pairing.status = Pairing.Status.COMPLETED
    with tenant_scope(pairing.tenant_id):
        report = report_of(pairing)
        identifiers, _ = report.usable_identifiers()
        decision = identify(identifiers).decision
        if decision.verdict is not Verdict.SAME or decision.device_id != pairing.device_id:
            return AccessDenied("The device was retired or changed after the approval.")
        return registration.auto_register(report=report, now=now)


def _lock_pending(pairing_id: UUID, now: datetime) -> Pairing:
    rows = Pairing.objects.select_for_update().filter(pk=pairing_id)
    pairing = rows.first()
    if pairing is None or pairing.expires_at <= now:
        raise PairingAlreadyDecided("The code has expired. Restart pairing on the device.")
    if pairing.status != Pairing.Status.PENDING:
        raise PairingAlreadyDecided("This pairing has already been decided.")
    return pairing


def _delete_expired_code(user_code: str, now: datetime) -> None:
    """Delete an expired pairing with this code, so that the code can be used again."""
    Pairing.objects.filter(
        user_code_digest=keyed_digests(user_code, purpose=PURPOSE)[0],
        expires_at__lte=now,
        status=Pairing.Status.PENDING,
    ).delete()


def _limit_lookups() -> None:
    try:
        wait = BY_MEMBER.spend(current_caller().id) or BY_ADDRESS.spend(caller_network())
    except LimiterUnavailable as error:
        raise TooManyPairings("Codes cannot be checked now. Try again in a minute.") from error
    if wait is not None:
        raise TooManyPairings("Too many codes were entered. Try again in a few minutes.")
