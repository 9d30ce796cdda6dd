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
from devices.registry.services import registration
from devices.registry.tests.factories import DeviceFactory
from devices.registry.tests.waiting import until
from events.models import Event
from tenants.context import every_tenant_scope

pytestmark = pytest.mark.django_db


@pytest.fixture
def service() -> CertificateManagementService:
    return CertificateManagementService()


def issued(service: CertificateManagementService, device: Device, now: datetime) -> Any:
    return service.issue_certificate(
        device=device, csr_pem=request_for(ec_key()), now=now
    )


def test_the_server_makes_a_key_and_files_both(
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


def test_the_server_makes_an_ec_key_when_asked(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = service.issue_certificate(device=device, key_type="ec", now=now)

    assert isinstance(row.public_key(), ec.EllipticCurvePublicKey)


def test_a_key_that_the_device_brings_never_exists_here(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    issued(service, device, now)

    root = Path(settings.CERTIFICATES_ROOT) / "devices"
    assert [path.name for path in root.rglob("*") if "key" in path.name] == []


def test_the_serial_number_is_committed_before_anything_is_signed(
    service: CertificateManagementService,
    device: Device,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reserved_when_signing = []
    sign = DeviceCertificatesService.issue_certificate

    def watched(self: Any, *args: Any, signing: Any, **kwargs: Any) -> Any:
        def reserve_and_look(key: Any) -> None:
            signing(key)
            row = DeviceCertificate.objects.get()
            reserved_when_signing.append((row.status, row.serial_number))

        return sign(self, *args, signing=reserve_and_look, **kwargs)

    monkeypatch.setattr(DeviceCertificatesService, "issue_certificate", watched)

    row = issued(service, device, now)

    assert reserved_when_signing == [("pending", row.serial_number)]


def test_a_signature_that_fails_leaves_a_spent_serial_number_and_no_file(
    service: CertificateManagementService, device: Device
) -> None:
    ca = service.ca.issuer().certificate
    after_its_end = ca.not_valid_after_utc + timedelta(days=1)

    with pytest.raises(AuthorityUnavailable):
        issued(service, device, after_its_end)

    assert DeviceCertificate.objects.get().status == "failed"
    assert not service.ca.store.certificate_of(device.pk).exists()
    assert list(service.ca.store.staged.glob("*")) == []


def test_a_second_certificate_takes_over_from_the_first(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    first = issued(service, device, now)

    second = issued(service, device, now)

    first.refresh_from_db()
    assert second.replaces == first
    assert (first.status, second.status) == ("active", "active")
    assert first.handover_until == now + timedelta(days=settings.HANDOVER_DAYS)
    assert second.handover_until is None


def test_a_server_made_key_is_made_anew_at_renewal(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    first = service.issue_certificate(device=device, key_type="ec", now=now)

    second = service.renew_certificate(first, now=now)

    assert second.public_key() != first.public_key()
    key = keys.from_pem(service.ca.store.key_of(device.pk).read_bytes())
    assert key.public_key() == second.public_key()


def test_a_renewed_certificate_is_not_renewed_again(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    first = issued(service, device, now)
    service.renew_certificate(first, now=now)

    with pytest.raises(NotRenewable):
        service.renew_certificate(first, now=now)


@pytest.mark.django_db(transaction=True)
def test_twenty_renewals_at_once_make_one_successor(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    first = issued(service, device, now)

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
def test_a_renewal_does_not_slip_past_a_retirement(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = issued(service, device, now)

    def act(verb: Callable[[], object]) -> None:
        try:
            with every_tenant_scope():
                verb()
        except (NotRenewable, DeviceIsRetired, IssuanceInterrupted):
            pass
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        renewing = pool.submit(act, lambda: service.renew_certificate(row, now=now))
        retiring = pool.submit(act, lambda: registration.retire(device=device, now=now))
        renewing.result()
        retiring.result()

    assert not DeviceCertificate.objects.unended().exists()


def test_a_retired_devices_certificates_are_revoked_in_the_same_transaction(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    first = issued(service, device, now)
    second = issued(service, device, now)

    with pytest.raises(RuntimeError), transaction.atomic():
        registration.retire(device=device, now=now)
        raise RuntimeError
    assert DeviceCertificate.objects.unended().count() == 2

    registration.retire(device=device, now=now)
    for row in (first, second):
        row.refresh_from_db()
        assert (row.status, row.revocation_reason) == (
            "revoked",
            "cessationOfOperation",
        )


def test_a_retired_device_gets_no_certificate(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    registration.retire(device=device, now=now)

    with pytest.raises(DeviceIsRetired):
        issued(service, device, now)


def test_a_revocation_keeps_its_first_time_and_may_only_get_worse(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = issued(service, device, now)
    later = now + timedelta(days=1)

    service.revoke_certificate(row, reason="superseded", now=now)
    service.revoke_certificate(row, reason="unspecified", now=later)
    row.refresh_from_db()
    assert (row.revoked_at, row.revocation_reason) == (now, "superseded")

    service.revoke_certificate(row, reason="key_compromise", now=later)
    row.refresh_from_db()
    assert (row.revoked_at, row.revocation_reason) == (now, "keyCompromise")


def test_a_reason_that_is_none_is_refused(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = issued(service, device, now)

    with pytest.raises(InvalidReason, match="keyCompromise"):
        service.revoke_certificate(row, reason="boredom", now=now)


def test_what_is_over_cannot_be_revoked(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = issued(service, device, now)
    service.check_expirations(now=row.not_after)

    with pytest.raises(NotRevocable):
        service.revoke_certificate(row, reason="unspecified", now=row.not_after)


def test_a_key_of_another_device_is_refused(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    request = request_for(ec_key())
    service.issue_certificate(device=device, csr_pem=request, now=now)

    with pytest.raises(KeyInUse):
        service.issue_certificate(
            device=DeviceFactory.create(), csr_pem=request, now=now
        )


def test_the_authoritys_own_key_is_refused(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    request = request_for(DeviceCertificatesService().issuer().key)

    with pytest.raises(KeyInUse, match="authority"):
        service.issue_certificate(device=device, csr_pem=request, now=now)


def test_the_database_lets_no_serial_number_be_used_twice(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = issued(service, device, now)
    again = DeviceCertificate.objects.get(pk=row.pk)
    again.pk, again.status, again.fingerprint = None, "superseded", "0" * 64

    with pytest.raises(IntegrityError, match="serial"):
        again.save(force_insert=True)


def test_a_new_certificate_waits_for_the_device_at_its_connect(
    service: CertificateManagementService,
    device: Device,
    as_device: Callable[[Device], APIClient],
) -> None:
    box, now = as_device(device), datetime.now(UTC)
    row = issued(service, device, now)

    steps = box.post("/devices/connect", {}).json()["next_steps"]
    assert steps["certificate_serial_number"] == row.serial_number
    assert not steps["certificate_renewal_due"]

    service.revoke_certificate(row, reason="unspecified", now=now)
    steps = box.post("/devices/connect", {}).json()["next_steps"]
    assert steps["certificate_serial_number"] is None


def test_a_renewal_is_due_in_its_last_week(
    service: CertificateManagementService,
    device: Device,
    as_device: Callable[[Device], APIClient],
) -> None:
    issued(service, device, datetime.now(UTC) - timedelta(days=360))

    steps = as_device(device).post("/devices/connect", {}).json()["next_steps"]

    assert steps["certificate_renewal_due"]


def test_the_command_warns_renews_and_expires(
    service: CertificateManagementService, device: Device, capsys: Any
) -> None:
    issued(service, device, datetime.now(UTC) - timedelta(days=360))

    call_command("check_expirations", dry_run=True)
    call_command("check_expirations")
    call_command("check_expirations", as_json=True)

    assert capsys.readouterr().out.splitlines() == [
        "Would be: 1 warned, 1 renewed, 0 expired.",
        "1 warned, 1 renewed, 0 expired.",
        '{"warned": 0, "renewed": 0, "expired": 0, "dry_run": false}',
    ]


@pytest.mark.django_db(transaction=True)
def test_the_monitor_runs_when_a_worker_starts(
    service: CertificateManagementService, device: Device, request: Any
) -> None:
    row = issued(service, device, datetime.now(UTC) - timedelta(days=360))

    request.getfixturevalue("celery_worker")

    until(lambda: row.successors.filter(status="active").exists())


@pytest.mark.django_db(transaction=True)
def test_a_real_worker_renews_what_is_due(
    celery_worker: None, service: CertificateManagementService, device: Device
) -> None:
    row = issued(service, device, datetime.now(UTC) - timedelta(days=360))

    check_expirations.delay()

    until(lambda: row.successors.filter(status="active").exists())
    assert Event.every_tenant.named("certificate.renewal_warning").count() == 1


def test_a_retired_devices_certificate_may_still_turn_out_compromised(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = issued(service, device, now)
    registration.retire(device=device, now=now)

    service.revoke_certificate(row, reason="keyCompromise", now=now)

    row.refresh_from_db()
    assert row.revocation_reason == "keyCompromise"


def test_a_renewal_that_read_its_certificate_before_a_revocation_is_refused(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    stale = issued(service, device, now)
    service.revoke_certificate(
        DeviceCertificate.objects.get(pk=stale.pk), reason="keyCompromise", now=now
    )

    with pytest.raises(NotRenewable):
        service.renew_certificate(stale, now=now)
    assert not DeviceCertificate.objects.active().exists()


def test_a_revocation_between_reservation_and_activation_ends_the_renewal(
    service: CertificateManagementService,
    device: Device,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = issued(service, device, now)
    activate = issuance.activate

    def revoke_first(*args: Any, **kwargs: Any) -> Any:
        service.revoke_certificate(row, reason="keyCompromise", now=now)
        return activate(*args, **kwargs)

    monkeypatch.setattr(issuance, "activate", revoke_first)

    with pytest.raises(IssuanceInterrupted):
        service.renew_certificate(row, now=now)
    assert not DeviceCertificate.objects.active().exists()
    assert list(service.ca.store.staged.iterdir()) == []


def test_a_compromised_key_is_never_signed_again(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    request = request_for(ec_key())
    row = service.issue_certificate(device=device, csr_pem=request, now=now)
    service.revoke_certificate(row, reason="keyCompromise", now=now)

    with pytest.raises(KeyInUse, match="compromised"):
        service.issue_certificate(device=device, csr_pem=request, now=now)


@pytest.mark.django_db(transaction=True)
def test_two_devices_that_bring_one_key_at_once_get_one_certificate(
    service: CertificateManagementService, now: datetime
) -> None:
    request = request_for(ec_key())
    devices = DeviceFactory.create_batch(4)

    def issue(device: Device) -> bool:
        try:
            with every_tenant_scope():
                service.issue_certificate(device=device, csr_pem=request, now=now)
        except KeyInUse:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(issue, devices)) == 1


def test_a_lost_authority_is_never_replaced_by_another(
    service: CertificateManagementService, device: Device, now: datetime, client: Any
) -> None:
    issued(service, device, now)
    service.ca.store.ca_certificate.unlink()
    service.ca.store.ca_key.unlink()

    with pytest.raises(AuthorityUnavailable, match="restore"):
        issued(service, device, now)
    assert client.get("/certificates/ca.pem").status_code == 200
    assert not service.ca.exists()


def test_another_authoritys_files_do_not_sign_in_its_place(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    issued(service, device, now)
    CertificateAuthority.objects.update(key_identifier="00" * 20)

    with pytest.raises(AuthorityUnavailable, match="not those"):
        issued(service, device, now)


def test_a_retired_box_comes_back_with_the_key_it_has_always_had(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    request = request_for(ec_key())
    service.issue_certificate(device=device, csr_pem=request, now=now)
    registration.retire(device=device, now=now)

    again = DeviceFactory.create(tenant=device.tenant)
    row = service.issue_certificate(device=again, csr_pem=request, now=now)

    assert row.status == "active"
