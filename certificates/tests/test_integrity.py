"""Tests of the integrity check and its repair after interrupted issuances."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from certificates.models import DeviceCertificate
from certificates.pki import keys
from certificates.services import issuance
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.services.file_comparison import Difference
from certificates.services.file_store import CertificateStore
from certificates.services.integrity import IntegrityCheck
from certificates.tasks import repair_certificates
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device
from devices.registry.services import retirement
from devices.registry.tests.waiting import wait_until
from events.services.delivery import deliver

pytestmark = pytest.mark.django_db
LATER = timedelta(minutes=10)


class SimulatedKill(BaseException):
    """Simulate SIGKILL: no code of the server catches this exception."""


@pytest.fixture
def service() -> CertificateManagementService:
    return CertificateManagementService()


def run_check(now: datetime, *, fix: bool = False) -> list[Difference]:
    check = IntegrityCheck(CertificateManagementService(), clock=lambda: now, fix=fix)
    return list(check.run())


def difference_kinds(now: datetime, *, fix: bool = False) -> list[str]:
    return [difference.kind for difference in run_check(now, fix=fix)]


def issue_with_server_key(
    service: CertificateManagementService, device: Device, now: datetime
) -> Any:
    return service.issue_certificate(device=device, key_type="ec", now=now)


@pytest.mark.parametrize(
    ("step", "survives"),
    [
        ((DeviceCertificatesService, "issue_certificate"), False),
        ((CertificateStore, "stage"), False),
        ((issuance, "activate"), True),
        ((CertificateStore, "install"), True),
    ],
)
@pytest.mark.parametrize("csr", [True, False])
def test_an_issuance_killed_at_any_step_is_repaired(
    service: CertificateManagementService,
    device: Device,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
    step: tuple[Any, str],
    survives: bool,
    csr: bool,
) -> None:
    """Kill an issuance before the given step, and repair the issuance.

    A certificate that was signed completely is activated. Otherwise the issuance fails.
    """
    original = getattr(*step)

    def crash(*args: Any, signing: Any = None, **kwargs: Any) -> Any:
        if signing is not None:
            signing(ec_key().public_key())  # reserves the serial number
        raise SimulatedKill

    monkeypatch.setattr(*step, crash)
    monkeypatch.setattr(issuance, "bury", lambda *_, **__: None)
    pem = request_for(ec_key()) if csr else None
    with pytest.raises(SimulatedKill):
        service.issue_certificate(device=device, csr_pem=pem, key_type="ec", now=now)
    monkeypatch.undo()
    assert getattr(*step) is original
    _keep_root(service)

    assert difference_kinds(now) == []  # the issuance may still be running
    assert difference_kinds(now + LATER) != []
    run_check(now + LATER, fix=True)

    assert difference_kinds(now + LATER + LATER) == []
    row = DeviceCertificate.objects.get()
    assert row.status == ("active" if survives else "failed")


def _keep_root(service: CertificateManagementService) -> None:
    """Set `CERTIFICATES_ROOT` again after `monkeypatch.undo()` has reset it."""
    settings.CERTIFICATES_ROOT = str(service.ca.store.root)


def test_a_missing_or_changed_certificate_file_is_restored(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = issue_with_server_key(service, device, now)
    path = service.ca.store.certificate_of(device.pk)
    for damage in (path.unlink, lambda: path.write_text("rubbish")):
        damage()
        assert len(difference_kinds(now)) == 1
        run_check(now, fix=True)
        assert path.read_text() == row.pem
    assert difference_kinds(now) == []


def test_a_lost_key_is_replaced_by_a_new_key_and_certificate(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = issue_with_server_key(service, device, now)
    service.ca.store.key_of(device.pk).unlink()

    assert difference_kinds(now) == ["key_file_missing"]
    run_check(now, fix=True)

    assert difference_kinds(now) == []
    renewed = row.successors.get()
    key = keys.from_pem(service.ca.store.key_of(device.pk).read_bytes())
    assert key.public_key() == renewed.public_key()


def test_a_key_file_of_another_certificate_is_detected(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    issue_with_server_key(service, device, now)
    service.ca.store.key_of(device.pk).write_bytes(keys.to_pem(ec_key()))

    assert difference_kinds(now) == ["key_file_mismatched"]


def test_the_mode_of_a_readable_key_file_is_restored(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    issue_with_server_key(service, device, now)
    path = service.ca.store.key_of(device.pk)
    path.chmod(0o644)

    assert difference_kinds(now, fix=True) == ["key_file_readable_by_others"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_key_of_a_revoked_certificate_is_deleted(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = issue_with_server_key(service, device, now)
    path = service.ca.store.key_of(device.pk)
    assert path.exists()

    service.revoke_certificate(row, reason="keyCompromise", now=now)
    deliver(now=now)

    assert not path.exists()
    assert difference_kinds(now) == []


def test_an_interrupted_issuance_of_a_retired_device_fails(
    service: CertificateManagementService,
    device: Device,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def crash(*_: Any, **__: Any) -> Any:
        raise SimulatedKill

    monkeypatch.setattr(issuance, "activate", crash)
    monkeypatch.setattr(issuance, "bury", lambda *_, **__: None)
    with pytest.raises(SimulatedKill):
        issue_with_server_key(service, device, now)
    monkeypatch.undo()
    _keep_root(service)
    retirement.retire(device=device, now=now)

    run_check(now + LATER, fix=True)

    assert difference_kinds(now + LATER) == []
    assert DeviceCertificate.objects.get().status == "failed"


def test_check_integrity_reports_and_repairs_differences(
    service: CertificateManagementService, device: Device, now: datetime, capsys: Any
) -> None:
    issue_with_server_key(service, device, now)
    call_command("check_integrity")
    service.ca.store.certificate_of(device.pk).unlink()

    with pytest.raises(CommandError, match="Differences found: 1"):
        call_command("check_integrity")
    call_command("check_integrity", fix=True)
    call_command("check_integrity")

    output = capsys.readouterr()
    assert output.out.splitlines() == [
        "Records and files agree.",
        "Differences repaired: 1.",
        "Records and files agree.",
    ]
    assert f"{device.pk}-cert.pem is missing" in output.err


@pytest.mark.django_db(transaction=True)
def test_the_worker_repairs_certificates(
    celery_worker: None,
    service: CertificateManagementService,
    device: Device,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def crash(*_: Any, **__: Any) -> Any:
        raise SimulatedKill

    monkeypatch.setattr(issuance, "activate", crash)
    monkeypatch.setattr(issuance, "bury", lambda *_, **__: None)
    with pytest.raises(SimulatedKill):
        issue_with_server_key(service, device, datetime.now(UTC) - LATER)
    monkeypatch.undo()

    repair_certificates.delay()

    wait_until(lambda: DeviceCertificate.objects.get().status == "active")


def test_an_interrupted_issuance_does_not_supersede_a_newer_certificate(
    service: CertificateManagementService,
    device: Device,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def crash(*_: Any, **__: Any) -> Any:
        raise SimulatedKill

    with monkeypatch.context() as patch:
        patch.setattr(issuance, "activate", crash)
        patch.setattr(issuance, "bury", lambda *_, **__: None)
        with pytest.raises(SimulatedKill):
            issue_with_server_key(service, device, now)
    newer = issue_with_server_key(service, device, now + timedelta(minutes=1))

    run_check(now + LATER, fix=True)

    newer.refresh_from_db()
    assert newer.status == "active"
    key = keys.from_pem(service.ca.store.key_of(device.pk).read_bytes())
    assert key.public_key() == newer.public_key()
    assert difference_kinds(now + LATER) == []


def test_a_check_with_a_stale_certificate_keeps_the_renewed_file(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    stale = issue_with_server_key(service, device, now)
    renewed = service.renew_certificate(stale, now=now)
    check = IntegrityCheck(service, clock=lambda: now, fix=True)

    assert list(check._repair(stale)) == []
    assert service.ca.store.certificate_of(device.pk).read_text() == renewed.pem


def test_a_temporary_file_of_a_killed_write_is_deleted(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    issue_with_server_key(service, device, now)
    leftover = service.ca.store.private / f".{device.pk}-key.pem.4711.beef"
    leftover.write_text("half a key")
    long_after = now + timedelta(days=36_500)

    assert difference_kinds(long_after, fix=True) == ["staged_file_left"]
    assert not leftover.exists()
