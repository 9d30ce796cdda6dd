"""Tests of issuing, renewing and revoking certificates."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.conf import settings
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from rest_framework.test import APIClient

from certificates.errors import (
    AuthorityUnavailable,
    InvalidReason,
    IssuanceInterrupted,
    KeyInUse,
    NotRenewable,
    NotRevocable,
)
from certificates.models import CertificateAuthority, DeviceCertificate
from certificates.pki import keys
from certificates.services import issuance
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.tasks import check_expirations
from certificates.tests.keys import ec_key, request_for
from devices.registry.errors import DeviceIsRetired
from devices.registry.models import Device
from devices.registry.services import retirement
from devices.registry.tests.factories import DeviceFactory
from devices.registry.tests.waiting import wait_until
from events.models import Event
from tenants.context import every_tenant_scope

pytestmark = pytest.mark.django_db


@pytest.fixture
def service() -> CertificateManagementService:
    return CertificateManagementService()


def issue_certificate(service: CertificateManagementService, device: Device, now: datetime) -> Any:
    return service.issue_certificate(device=device, csr_pem=request_for(ec_key()), now=now)


def test_a_server_generated_key_is_stored_with_its_certificate(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = service.issue_certificate(device=device, now=now)

    key_file = service.ca.store.key_of(device.pk)
    assert key_file.parent.name == "private"
    assert key_file.name == f"{device.pk}-key.pem"
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert key_file.parent.stat().st_mode & 0o777 == 0o700
    key = keys.from_pem(key_file.read_bytes())
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 2048
    assert key.public_key() == row.public_key()
    certificate_file = service.ca.store.certificate_of(device.pk)
    assert certificate_file.name == f"{device.pk}-cert.pem"
    assert certificate_file.read_text() == row.pem


def test_the_server_generates_an_ec_key_on_request(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = service.issue_certificate(device=device, key_type="ec", now=now)

    assert isinstance(row.public_key(), ec.EllipticCurvePublicKey)


def test_no_key_file_exists_for_a_device_generated_key(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    issue_certificate(service, device, now)

    root = Path(settings.CERTIFICATES_ROOT) / "devices"
    assert [path.name for path in root.rglob("*") if "key" in path.name] == []


def test_the_serial_number_is_reserved_before_signing(
    service: CertificateManagementService,
    device: Device,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows_at_signing = []
    sign = DeviceCertificatesService.issue_certificate

    def wrapper(self: Any, *args: Any, signing: Any, **kwargs: Any) -> Any:
        def reserve_and_record(key: Any) -> None:
            signing(key)
            row = DeviceCertificate.objects.get()
            rows_at_signing.append((row.status, row.serial_number))

        return sign(self, *args, signing=reserve_and_record, **kwargs)

    monkeypatch.setattr(DeviceCertificatesService, "issue_certificate", wrapper)

    row = issue_certificate(service, device, now)

    assert rows_at_signing == [("pending", row.serial_number)]


def test_a_failed_signature_leaves_a_failed_row_and_no_file(
    service: CertificateManagementService, device: Device
) -> None:
    ca = service.ca.issuer().certificate
    after_ca_expiry = ca.not_valid_after_utc + timedelta(days=1)

    with pytest.raises(AuthorityUnavailable):
        issue_certificate(service, device, after_ca_expiry)

    assert DeviceCertificate.objects.get().status == "failed"
    assert not service.ca.store.certificate_of(device.pk).exists()
    assert list(service.ca.store.staged.glob("*")) == []


def test_a_second_certificate_starts_a_handover_from_the_first(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    first = issue_certificate(service, device, now)

    second = issue_certificate(service, device, now)

    first.refresh_from_db()
    assert second.replaces == first
    assert (first.status, second.status) == ("active", "active")
    assert first.handover_until == now + timedelta(days=settings.HANDOVER_DAYS)
    assert second.handover_until is None


def test_a_renewal_replaces_a_server_generated_key(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    first = service.issue_certificate(device=device, key_type="ec", now=now)

    second = service.renew_certificate(first, now=now)

    assert second.public_key() != first.public_key()
    key = keys.from_pem(service.ca.store.key_of(device.pk).read_bytes())
    assert key.public_key() == second.public_key()


def test_a_renewed_certificate_cannot_be_renewed_again(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    first = issue_certificate(service, device, now)
    service.renew_certificate(first, now=now)

    with pytest.raises(NotRenewable):
        service.renew_certificate(first, now=now)


@pytest.mark.django_db(transaction=True)
def test_twenty_concurrent_renewals_create_one_successor(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    first = issue_certificate(service, device, now)

    def renew(_: int) -> bool:
        try:
            with every_tenant_scope():
                row = DeviceCertificate.objects.get(pk=first.pk)
                service.renew_certificate(row, now=now)
        except NotRenewable:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(renew, range(20))) == 1
    assert first.successors.exclude(status="failed").count() == 1
    active = DeviceCertificate.objects.active().get()
    assert service.ca.store.certificate_of(device.pk).read_text() == active.pem


@pytest.mark.django_db(transaction=True)
def test_a_concurrent_renewal_and_retirement_leave_no_accepted_certificate(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = issue_certificate(service, device, now)

    def run(operation: Callable[[], object]) -> None:
        try:
            with every_tenant_scope():
                operation()
        except (NotRenewable, DeviceIsRetired, IssuanceInterrupted):
            pass
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        renewing = pool.submit(run, lambda: service.renew_certificate(row, now=now))
        retiring = pool.submit(run, lambda: retirement.retire(device=device, now=now))
        renewing.result()
        retiring.result()

    assert not DeviceCertificate.objects.accepted().exists()


def test_a_retirement_revokes_certificates_in_its_transaction(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    first = issue_certificate(service, device, now)
    second = issue_certificate(service, device, now)

    with pytest.raises(RuntimeError), transaction.atomic():
        retirement.retire(device=device, now=now)
        raise RuntimeError
    assert DeviceCertificate.objects.accepted().count() == 2

    retirement.retire(device=device, now=now)
    for row in (first, second):
        row.refresh_from_db()
        assert (row.status, row.revocation_reason) == ("revoked", "cessationOfOperation")


def test_no_certificate_is_issued_to_a_retired_device(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    retirement.retire(device=device, now=now)

    with pytest.raises(DeviceIsRetired):
        issue_certificate(service, device, now)


def test_a_repeated_revocation_keeps_its_time_and_only_escalates_the_reason(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = issue_certificate(service, device, now)
    later = now + timedelta(days=1)

    service.revoke_certificate(row, reason="superseded", now=now)
    service.revoke_certificate(row, reason="unspecified", now=later)
    row.refresh_from_db()
    assert (row.revoked_at, row.revocation_reason) == (now, "superseded")

    service.revoke_certificate(row, reason="key_compromise", now=later)
    row.refresh_from_db()
    assert (row.revoked_at, row.revocation_reason) == (now, "keyCompromise")


def test_an_unknown_revocation_reason_is_rejected(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = issue_certificate(service, device, now)

    with pytest.raises(InvalidReason, match="keyCompromise"):
        service.revoke_certificate(row, reason="boredom", now=now)


def test_an_expired_certificate_cannot_be_revoked(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = issue_certificate(service, device, now)
    service.check_expirations(now=row.not_after)

    with pytest.raises(NotRevocable):
        service.revoke_certificate(row, reason="unspecified", now=row.not_after)


def test_a_key_of_another_device_is_rejected(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    csr = request_for(ec_key())
    service.issue_certificate(device=device, csr_pem=csr, now=now)

    with pytest.raises(KeyInUse):
        service.issue_certificate(device=DeviceFactory.create(), csr_pem=csr, now=now)


def test_the_key_of_the_ca_is_rejected(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    csr = request_for(DeviceCertificatesService().issuer().key)

    with pytest.raises(KeyInUse, match="authority"):
        service.issue_certificate(device=device, csr_pem=csr, now=now)


def test_the_database_enforces_unique_serial_numbers(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = issue_certificate(service, device, now)
    duplicate = DeviceCertificate.objects.get(pk=row.pk)
    duplicate.pk, duplicate.status, duplicate.fingerprint = None, "superseded", "0" * 64

    with pytest.raises(IntegrityError, match="serial"):
        duplicate.save(force_insert=True)


def test_connect_reports_a_new_certificate(
    service: CertificateManagementService, device: Device, as_device: Callable[[Device], APIClient]
) -> None:
    client, now = as_device(device), datetime.now(UTC)
    row = issue_certificate(service, device, now)

    steps = client.post("/devices/connect", {}).json()["next_steps"]
    assert steps["certificate_serial_number"] == row.serial_number
    assert not steps["certificate_renewal_due"]

    service.revoke_certificate(row, reason="unspecified", now=now)
    steps = client.post("/devices/connect", {}).json()["next_steps"]
    assert steps["certificate_serial_number"] is None


def test_connect_reports_a_due_renewal(
    service: CertificateManagementService, device: Device, as_device: Callable[[Device], APIClient]
) -> None:
    issue_certificate(service, device, datetime.now(UTC) - timedelta(days=360))

    steps = as_device(device).post("/devices/connect", {}).json()["next_steps"]

    assert steps["certificate_renewal_due"]


def test_check_expirations_reports_warnings_renewals_and_expiries(
    service: CertificateManagementService, device: Device, capsys: Any
) -> None:
    issue_certificate(service, device, datetime.now(UTC) - timedelta(days=360))

    call_command("check_expirations", dry_run=True)
    call_command("check_expirations")
    call_command("check_expirations", as_json=True)

    assert capsys.readouterr().out.splitlines() == [
        "Dry run: 1 warned, 1 renewed, 0 expired.",
        "1 warned, 1 renewed, 0 expired.",
        '{"warned": 0, "renewed": 0, "expired": 0, "dry_run": false}',
    ]


@pytest.mark.django_db(transaction=True)
def test_the_expiration_check_runs_when_a_worker_starts(
    service: CertificateManagementService, device: Device, request: Any
) -> None:
    row = issue_certificate(service, device, datetime.now(UTC) - timedelta(days=360))

    request.getfixturevalue("celery_worker")

    wait_until(lambda: row.successors.filter(status="active").exists())


@pytest.mark.django_db(transaction=True)
def test_the_worker_renews_due_certificates(
    celery_worker: None, service: CertificateManagementService, device: Device
) -> None:
    row = issue_certificate(service, device, datetime.now(UTC) - timedelta(days=360))

    check_expirations.delay()

    wait_until(lambda: row.successors.filter(status="active").exists())
    assert Event.every_tenant.named("certificate.renewal_warning").count() == 1


def test_the_reason_of_a_retired_devices_revocation_can_become_key_compromise(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = issue_certificate(service, device, now)
    retirement.retire(device=device, now=now)

    service.revoke_certificate(row, reason="keyCompromise", now=now)

    row.refresh_from_db()
    assert row.revocation_reason == "keyCompromise"


def test_a_renewal_with_a_stale_revoked_certificate_is_rejected(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    stale = issue_certificate(service, device, now)
    service.revoke_certificate(
        DeviceCertificate.objects.get(pk=stale.pk), reason="keyCompromise", now=now
    )

    with pytest.raises(NotRenewable):
        service.renew_certificate(stale, now=now)
    assert not DeviceCertificate.objects.active().exists()


def test_a_revocation_before_activation_interrupts_the_renewal(
    service: CertificateManagementService,
    device: Device,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = issue_certificate(service, device, now)
    activate = issuance.activate

    def revoke_first(*args: Any, **kwargs: Any) -> Any:
        service.revoke_certificate(row, reason="keyCompromise", now=now)
        return activate(*args, **kwargs)

    monkeypatch.setattr(issuance, "activate", revoke_first)

    with pytest.raises(IssuanceInterrupted):
        service.renew_certificate(row, now=now)
    assert not DeviceCertificate.objects.active().exists()
    assert list(service.ca.store.staged.iterdir()) == []


def test_a_compromised_key_is_rejected(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    csr = request_for(ec_key())
    row = service.issue_certificate(device=device, csr_pem=csr, now=now)
    service.revoke_certificate(row, reason="keyCompromise", now=now)

    with pytest.raises(KeyInUse, match="compromised"):
        service.issue_certificate(device=device, csr_pem=csr, now=now)


@pytest.mark.django_db(transaction=True)
def test_devices_requesting_one_key_concurrently_get_one_certificate(
    service: CertificateManagementService, now: datetime
) -> None:
    csr = request_for(ec_key())
    devices = DeviceFactory.create_batch(4)

    def issue(device: Device) -> bool:
        try:
            with every_tenant_scope():
                service.issue_certificate(device=device, csr_pem=csr, now=now)
        except KeyInUse:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(issue, devices)) == 1


def test_a_lost_ca_is_never_replaced_by_a_new_one(
    service: CertificateManagementService, device: Device, now: datetime, client: Any
) -> None:
    issue_certificate(service, device, now)
    service.ca.store.ca_certificate.unlink()
    service.ca.store.ca_key.unlink()

    with pytest.raises(AuthorityUnavailable, match="Restore them"):
        issue_certificate(service, device, now)
    assert client.get("/certificates/ca.pem").status_code == 200
    assert not service.ca.exists()


def test_files_of_another_ca_are_not_used_for_signing(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    issue_certificate(service, device, now)
    CertificateAuthority.objects.update(key_identifier="00" * 20)

    with pytest.raises(AuthorityUnavailable, match="belong to another CA"):
        issue_certificate(service, device, now)


def test_a_device_registered_again_after_retirement_can_reuse_its_key(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    csr = request_for(ec_key())
    service.issue_certificate(device=device, csr_pem=csr, now=now)
    retirement.retire(device=device, now=now)

    new_device = DeviceFactory.create(tenant=device.tenant)
    row = service.issue_certificate(device=new_device, csr_pem=csr, now=now)

    assert row.status == "active"
