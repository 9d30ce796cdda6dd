"""Tests of a certificate from issuance to expiry or revocation. They set the time by `now`."""

from datetime import datetime, timedelta

import pytest

from certificates.models import DeviceCertificate
from certificates.services import handover
from certificates.services.certificate_management import (
    CertificateManagementService,
    ExpirationCheck,
)
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device
from events.models import Event

pytestmark = pytest.mark.django_db


def event_names(device: Device) -> list[str]:
    queryset = Event.every_tenant.of_device(device.pk).order_by("id")
    return list(queryset.values_list("name", flat=True))


def end_of(row: DeviceCertificate) -> datetime:
    assert row.not_after is not None
    return row.not_after


def days(number: float) -> timedelta:
    return timedelta(days=number)


def test_a_certificate_is_renewed_superseded_expired_and_revoked(
    device: Device, now: datetime
) -> None:
    service = CertificateManagementService()

    # The certificate is valid for a year.
    first = service.issue_certificate(device=device, csr_pem=request_for(ec_key()), now=now)
    end = end_of(first)
    assert (first.status, end - (now - timedelta(minutes=5))) == (
        "active",
        days(365) - timedelta(seconds=1),
    )
    assert event_names(device) == ["certificate.issued"]

    # For eleven months nothing is due.
    assert service.check_expirations(now=end - days(31)) == ExpirationCheck(0, 0, [])

    # One warning is published thirty days before the end, even if the check runs again.
    assert service.check_expirations(now=end - days(30)).warned == 1
    assert service.check_expirations(now=end - days(29)).warned == 0
    assert event_names(device)[1:] == ["certificate.renewal_warning"]

    # The renewal is due seven days before the end, and not an hour earlier.
    assert service.check_expirations(now=end - days(7) - timedelta(hours=1)).due == []
    assert service.check_expirations(now=end - days(7)).due == [first.pk]

    # A renewal is a new certificate for the same key. The old certificate is not changed.
    second = service.renew_certificate(first, now=end - days(7))
    first.refresh_from_db()
    assert second.replaces == first
    assert second.public_key() == first.public_key()
    assert second.serial_number != first.serial_number
    assert (first.status, second.status) == ("active", "active")
    assert first.revoked_at is None
    assert event_names(device)[2:] == ["certificate.renewed"]

    # Both certificates are valid until the device confirms the new one.
    handover.confirm(second, now=end - days(6))
    first.refresh_from_db()
    assert (first.status, first.revoked_at) == ("superseded", None)
    assert event_names(device)[3:] == ["certificate.superseded"]
    assert service.check_expirations(now=end - days(7)).due == []

    # The old certificate expires, and an event is recorded.
    assert service.check_expirations(now=end).expired == 1
    first.refresh_from_db()
    assert first.status == "expired"
    assert event_names(device)[4:] == ["certificate.expired"]
    assert not Event.every_tenant.named("certificate.expired").get().data["was_in_use"]

    # The new certificate is revoked before its end. A second revocation has no effect.
    lost = end_of(second) - days(100)
    service.revoke_certificate(second, reason="keyCompromise", now=lost)
    service.revoke_certificate(second, reason="keyCompromise", now=lost + days(1))
    second.refresh_from_db()
    assert (second.status, second.revoked_at) == ("revoked", lost)
    assert second.revocation_reason == DeviceCertificate.Reason.KEY_COMPROMISE
    assert event_names(device)[5:] == ["certificate.revoked"]

    # A revoked certificate is never renewed, warned about or expired.
    assert service.check_expirations(now=end_of(second) + days(1)) == ExpirationCheck(0, 0, [])


def test_the_expiration_check_catches_up_after_an_outage(device: Device, now: datetime) -> None:
    service = CertificateManagementService()
    row = service.issue_certificate(device=device, csr_pem=request_for(ec_key()), now=now)

    result = service.check_expirations(now=end_of(row) - days(3))

    assert result == ExpirationCheck(warned=1, expired=0, due=[row.pk])


def test_the_expiry_event_of_an_unrenewed_certificate_says_it_was_in_use(
    device: Device, now: datetime
) -> None:
    service = CertificateManagementService()
    row = service.issue_certificate(device=device, csr_pem=request_for(ec_key()), now=now)

    service.check_expirations(now=end_of(row) + days(1))

    row.refresh_from_db()
    assert row.status == "expired"
    assert Event.every_tenant.named("certificate.expired").get().data["was_in_use"]
