"""Register devices."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Model

from core.ignored import Ignored
from core.inserts import insert
from core.querysets import first_or_raise
from devices.registry import signature_algorithms
from devices.registry.details import mark_as_new, show_tags
from devices.registry.device_report import DeviceReport, field_of
from devices.registry.errors import (
    AlreadyRegistered,
    DeviceIsQuarantined,
    DeviceIsRetired,
    DeviceNotFound,
    IdentifierRequired,
)
from devices.registry.events import DeviceClaimed, DeviceRegistered, DeviceReregistered
from devices.registry.identifiers import Identifier
from devices.registry.identity import Verdict
from devices.registry.models import (
    Device,
    DeviceHardware,
    DeviceIdentifier,
    DeviceToken,
    EnrollmentToken,
    Site,
)
from devices.registry.queries import lock_device
from devices.registry.services import conflicts, device_identifiers
from devices.registry.services.clone_detection import observe_key
from devices.registry.services.conflicts import IdentityNotDecided, record_conflicts
from devices.registry.services.credentials import count_use, first_device_token, renew_device_token
from devices.registry.services.identification import identify
from devices.registry.services.presence import mark_online, online_event
from devices.registry.services.reregistration import (
    MemberDecisionRequired,
    check_reregistration,
    request_decision,
)
from devices.registry.services.sites import keep_site, require_site
from devices.registry.services.tags import tag_new_device
from events.domain_events import Changes, DomainEvent
from events.services.outbox import record
from tenants.context import current_caller

MAX_ATTEMPTS = 5  # at most one race is lost per identifier; more means a bug


@dataclass(frozen=True, slots=True)
class Registration:
    """The result of a registration. The token is not stored."""

    device: Device
    token: str
    created: bool = False
    ignored: Sequence[Ignored] = ()  # what could not be used of the report


class _RetiredConcurrently(Exception):
    """The device was retired concurrently, so its identifiers are released."""


def auto_register(
    *,
    report: DeviceReport,
    now: datetime,
    enrollment_token: EnrollmentToken | None = None,
    key_digest: str = "",
    key_holder: UUID | None = None,
) -> Registration:
    """Register a new device from its report, or register a known device again.

    A unique constraint allows one unretired device per identifier. If a call loses a race
    for an identifier, it is repeated and uses the device that the other call created.

    Args:
        report: the data that the device sends.
        enrollment_token: the token with which the device registers; None if a member
            registers the device.
        key_digest: hexadecimal SHA-256 of the SPKI in the device's certificate signing
            request; "" if there is none.
        key_holder: the device of the tenant that has this key; None if there is none.

    Raises:
        IdentifierRequired: no identifier of the report is usable.
        EnrollmentTokenUsedUp: the device is new and the token has no uses left.
        ReregistrationPending, ReregistrationRefused: the device is known and may not
            register again, or it is not certain which device it is. Either the policy of the
            token forbids this, or a member must decide, or a member has refused.
        DeviceIsQuarantined: the device is in quarantine.
        AlreadyRegistered: each attempt lost a race for an identifier.
    """
    identifiers, ignored = report.usable_identifiers()
    for _ in range(MAX_ATTEMPTS):
        try:
            registration = _auto_register(
                report, identifiers, now, enrollment_token, key_digest, key_holder
            )
            return replace(registration, ignored=[*ignored, *registration.ignored])
        except _RetiredConcurrently:
            continue
        except MemberDecisionRequired as error:
            raise request_decision(error.device, now=now) from None
        except IdentityNotDecided as error:
            raise conflicts.request_decision(error, enrollment_token, now=now) from None
        except IntegrityError as error:
            if not device_identifiers.are_taken(error):
                raise
    raise AlreadyRegistered("Another request is registering this device. Try again.")


def register(
    *, report: DeviceReport, tags: Iterable[str] = (), site: Site | None = None, now: datetime
) -> Device:
    """Register a device by hand, before it connects.

    When the device later registers itself with one of the identifiers, it uses the row that
    this function creates.

    Raises:
        InvalidIdentifier, IdentifierRequired: see `DeviceReport.identifiers`.
        AlreadyRegistered: an unretired device has the identifiers, or may have them.
        InvalidTag: see `valid_names`.
    """
    identifiers = report.identifiers()
    decision = identify(identifiers).decision
    if decision.verdict is not Verdict.DIFFERENT or not decision.own:
        matches = DeviceIdentifier.objects.matching(identifiers).select_related("device")
        for match in matches:
            raise AlreadyRegistered(
                f"{match.shown} belongs to {match.device.name} ({match.device.pk}).",
                field=field_of(match.identifier),
            )
    with transaction.atomic():
        device = register_identified(report, decision.own, tags=tags, site=site, now=now)
        record_conflicts(decision.contests, other=device, now=now)
    return device


def register_identified(
    report: DeviceReport,
    identifiers: Sequence[Identifier],
    *,
    tags: Iterable[str] = (),
    site: Site | None = None,
    now: datetime,
) -> Device:
    """Register a device that does not connect yet, with identifiers that no other device has.

    Raises:
        AlreadyRegistered: another device has got one of the identifiers meanwhile.
        IdentifierRequired: there is no identifier.
        InvalidTag: see `valid_names`.
    """
    if not identifiers:
        raise IdentifierRequired
    try:
        with transaction.atomic():
            require_site(site)
            device, _, events = _create(report, identifiers, by="manual", site=site, now=now)
            tag_new_device(device, tags)
            record(events)
    except IntegrityError as error:
        if not device_identifiers.are_taken(error):
            raise
        raise AlreadyRegistered("Another request has just registered this device.") from error
    return device


def get_not_retired_device(device_id: Any) -> Device:
    """Return the current tenant's device with this id, if it is not retired.

    Raises:
        DeviceNotFound: the device is unknown, retired, or belongs to another tenant.
    """
    return first_or_raise(Device.objects.not_retired().filter(pk=device_id), DeviceNotFound)


@transaction.atomic
def _auto_register(
    report: DeviceReport,
    identifiers: list[Identifier],
    now: datetime,
    enrollment_token: EnrollmentToken | None,
    key_digest: str,
    key_holder: UUID | None,
) -> Registration:
    identification = identify(identifiers, key_holder=key_holder)
    decision = identification.decision
    if decision.verdict is Verdict.UNDECIDED:
        raise IdentityNotDecided(decision, identifiers)
    if decision.device_id is not None:
        registration = _register_again(
            decision.device_id, report, decision.own, now, enrollment_token, key_digest
        )
    else:
        registration = _register_new(report, decision.own, now, enrollment_token, key_digest)
    record_conflicts(decision.contests, other=registration.device, now=now)
    if enrollment_token is not None and registration.created:
        # The last step, because other registrations wait for this row until the commit.
        count_use(enrollment_token)
    return replace(registration, ignored=identification.ignored)


def _register_new(
    report: DeviceReport,
    identifiers: Sequence[Identifier],
    now: datetime,
    enrollment_token: EnrollmentToken | None,
    key_digest: str,
) -> Registration:
    if not identifiers:
        raise IdentifierRequired(
            f"{IdentifierRequired.sentence} Several devices report the values of this one."
        )
    site = keep_site(enrollment_token.site) if enrollment_token else None
    device, token, events = _create(report, identifiers, by="auto", site=site, now=now)
    if enrollment_token is not None and enrollment_token.tags:
        names = tag_new_device(device, enrollment_token.tags)
        show_tags(device, names)
    record([*events, *observe_key(device, key_digest, now=now)])
    return Registration(device, token, created=True)


def _register_again(
    device_id: UUID,
    report: DeviceReport,
    identifiers: Sequence[Identifier],
    now: datetime,
    enrollment_token: EnrollmentToken | None,
    key_digest: str,
) -> Registration:
    device = _lock_known_device(device_id)
    is_claim = not DeviceToken.objects.filter(device=device).exists()
    if not is_claim:
        check_reregistration(device, enrollment_token, now=now)
    _update_registered_device(device, report, identifiers, now, is_claim=is_claim)
    record(observe_key(device, key_digest, now=now))
    return Registration(device, renew_device_token(device, now=now))


def _lock_known_device(device_id: UUID) -> Device:
    try:
        device = lock_device(device_id)
    except DeviceIsRetired as error:
        raise _RetiredConcurrently from error
    if device.quarantined_at is not None:
        raise DeviceIsQuarantined
    return device


def _update_registered_device(
    device: Device,
    report: DeviceReport,
    identifiers: Sequence[Identifier],
    now: datetime,
    *,
    is_claim: bool,
) -> None:
    """Update a known, locked device from its report and set it online."""
    device_identifiers.give(device, identifiers, now=now)
    changes = _update_from_report(device, report)
    event_class = DeviceClaimed if is_claim else DeviceReregistered
    status_events = mark_online(device, now=now)
    device.save(update_fields=["status", "last_seen"])
    record([_event(event_class, device, now, changes=changes), *status_events])


def _create(
    report: DeviceReport,
    identifiers: Sequence[Identifier],
    *,
    by: Literal["auto", "manual"],
    site: Site | None,
    now: datetime,
) -> tuple[Device, str, list[DomainEvent]]:
    """Create the rows of a new device; return its token and the events to record.

    A device that registers itself is online. A device entered by a member was never seen, and
    has no token.
    """
    serial = (item.written for item in identifiers if item.kind == "serial_number")
    device = Device(
        name=report.name or next(serial, identifiers[0].value),
        model=report.model,
        status=Device.Status.ONLINE if by == "auto" else Device.Status.OFFLINE,
        last_seen=now if by == "auto" else None,
        ip_address=current_caller().address if by == "auto" else None,
        app_version=report.app_version,
        os_version=report.os_version,
        site=site,
        registered_at=now,
    )
    hardware = DeviceHardware(
        device=device,
        manufacturer=report.manufacturer,
        screen_width=report.screen_width,
        screen_height=report.screen_height,
        abis=list(report.abis),
        signature_algorithm=signature_algorithms.choose(report),
    )
    identifier_rows = device_identifiers.rows_of(device, identifiers)
    rows: list[Model] = [device, hardware, *identifier_rows]
    token = ""
    if by == "auto":
        token_row, token = first_device_token(device, now=now)
        rows.append(token_row)
    insert(rows)
    mark_as_new(device, identifier_rows)
    events = [
        _event(
            DeviceRegistered,
            device,
            now,
            by=by,
            device_name=device.name,
            identifiers=[f"{item.kind}:{item.value}" for item in identifiers],
        )
    ]
    if by == "auto":
        events.append(online_event(device, before=Device.Status.OFFLINE, last_seen=None))
    return device, token, events


def _update_from_report(device: Device, report: DeviceReport) -> Changes:
    """Overwrite the fields that the device sent; leave the others unchanged."""
    changes: Changes = {}
    hardware, _ = DeviceHardware.objects.get_or_create(device=device)
    for row, names in (
        (device, ("model", "app_version", "os_version")),
        (hardware, ("manufacturer", "screen_width", "screen_height", "abis")),
    ):
        reported = {name: getattr(report, name) for name in names if getattr(report, name)}
        if row is hardware and (report.signature_algorithms or device.last_seen is None):
            reported["signature_algorithm"] = signature_algorithms.choose(report)
        new_values = {
            name: value for name, value in reported.items() if value != getattr(row, name)
        }
        for name, value in new_values.items():
            changes[name] = (getattr(row, name), value)
            setattr(row, name, value)
        if new_values:
            row.save(update_fields=list(new_values))
    return changes


def _event(event_class: Any, device: Device, now: datetime, **fields: Any) -> Any:
    return event_class(tenant_id=device.tenant_id, device_id=device.pk, at=now, **fields)
