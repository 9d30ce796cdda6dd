"""A certificate's whole life, a year and more, told by passing `now`."""

from datetime import datetime, timedelta

import pytest

from certificates.models import DeviceCertificate
from certificates.services import handover
from certificates.services.certificate_management import (
    CertificateManagementService,
    Monitored,
)
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device
from events.models import Event

pytestmark = pytest.mark.django_db


def events(device: Device) -> list[str]:
    told = Event.every_tenant.of_device(device.pk).order_by("id")
    return list(told.values_list("name", flat=True))


def end_of(row: DeviceCertificate) -> datetime:
    assert row.not_after is not None
    return row.not_after


def days(number: float) -> timedelta:
    return timedelta(days=number)


def test_the_life_of_a_certificate(device: Device, now: datetime) -> None:
    service = CertificateManagementService()

    # It is issued, and good for a year.
    first = service.issue_certificate(
        device=device, csr_pem=request_for(ec_key()), now=now
    )
    end = end_of(first)
    assert (first.status, end - (now - timedelta(minutes=5))) == (
        "active",
        days(365) - timedelta(seconds=1),
    )
    assert events(device) == ["certificate.issued"]

    # For eleven months nothing is due.
    assert service.check_expirations(now=end - days(31)) == Monitored(0, 0, [])

    # Thirty days before its end it is warned of: once, however often anybody looks.
    assert service.check_expirations(now=end - days(30)).warned == 1
    assert service.check_expirations(now=end - days(29)).warned == 0
    assert events(device)[1:] == ["certificate.renewal_warning"]

    # Seven days before its end it is to be renewed, and not an hour sooner.
    assert service.check_expirations(now=end - days(7) - timedelta(hours=1)).due == []
    assert service.check_expirations(now=end - days(7)).due == [first.pk]

    # The renewal is a new certificate for the same key; the old one is not touched.
    second = service.renew_certificate(first, now=end - days(7))
    first.refresh_from_db()
    assert second.replaces == first
    assert second.public_key() == first.public_key()
    assert second.serial_number != first.serial_number
    assert (first.status, second.status) == ("active", "active")
    assert first.revoked_at is None
    assert events(device)[2:] == ["certificate.renewed"]

    # Both are good until the device has the new one, and says so.
    handover.confirm(second, now=end - days(6))
    first.refresh_from_db()
    assert (first.status, first.revoked_at) == ("superseded", None)
    assert events(device)[3:] == ["certificate.superseded"]
    assert service.check_expirations(now=end - days(7)).due == []

    # The old one ends by itself, and that is said.
    assert service.check_expirations(now=end).expired == 1
    first.refresh_from_db()
    assert first.status == "expired"
    assert events(device)[4:] == ["certificate.expired"]
    assert not Event.every_tenant.named("certificate.expired").get().data["was_in_use"]

    # A year on, the second is lost: it is revoked, once, and stays so.
    lost = end_of(second) - days(100)
    service.revoke_certificate(second, reason="keyCompromise", now=lost)
    service.revoke_certificate(second, reason="keyCompromise", now=lost + days(1))
    second.refresh_from_db()
    assert (second.status, second.revoked_at) == ("revoked", lost)
    assert second.revocation_reason == DeviceCertificate.Reason.KEY_COMPROMISE
    assert events(device)[5:] == ["certificate.revoked"]

    # What is revoked is never renewed, warned of or said to expire.
    assert service.check_expirations(now=end_of(second) + days(1)) == Monitored(
        0, 0, []
    )


def test_after_an_outage_of_any_length_the_monitor_catches_up(
    device: Device, now: datetime
) -> None:
    service = CertificateManagementService()
    row = service.issue_certificate(
        device=device, csr_pem=request_for(ec_key()), now=now
    )

    monitored = service.check_expirations(now=end_of(row) - days(3))

    assert monitored == Monitored(warned=1, expired=0, due=[row.pk])


def test_a_certificate_that_ends_unrenewed_was_in_use(
    device: Device, now: datetime
) -> None:
    service = CertificateManagementService()
    row = service.issue_certificate(
        device=device, csr_pem=request_for(ec_key()), now=now
    )

    service.check_expirations(now=end_of(row) + days(1))

    row.refresh_from_db()
    assert row.status == "expired"
    assert Event.every_tenant.named("certificate.expired").get().data["was_in_use"]
