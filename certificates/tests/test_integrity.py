"""What a crash leaves at each step, and how it is mended."""

from collections.abc import Callable
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
from devices.registry.services import registration
from devices.registry.tests.waiting import until
from events.services.delivery import deliver

pytestmark = pytest.mark.django_db
LATER = timedelta(minutes=10)


class Killed(BaseException):
    """As kill -9: nothing of ours catches it."""


@pytest.fixture
def service() -> CertificateManagementService:
    return CertificateManagementService()


def look(now: datetime, *, fix: bool = False) -> list[Difference]:
    check = IntegrityCheck(CertificateManagementService(), clock=lambda: now, fix=fix)
    return list(check.run())


def kinds(now: datetime, *, fix: bool = False) -> list[str]:
    return [difference.kind for difference in look(now, fix=fix)]


def server_made(
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
def test_killed_at_any_step_records_and_files_agree_again(
    service: CertificateManagementService,
    device: Device,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
    step: tuple[Any, str],
    survives: bool,
    csr: bool,
) -> None:
    """Killed before the step. What was signed whole is finished, the rest buried."""
    original = getattr(*step)

    def killed(*args: Any, signing: Any = None, **kwargs: Any) -> Any:
        if signing is not None:
            signing(ec_key().public_key())  # reserved, and then the end
        raise Killed

    monkeypatch.setattr(*step, killed)
    monkeypatch.setattr(issuance, "bury", lambda *_, **__: None)
    pem = request_for(ec_key()) if csr else None
    with pytest.raises(Killed):
        service.issue_certificate(device=device, csr_pem=pem, key_type="ec", now=now)
    monkeypatch.undo()
    assert getattr(*step) is original
    _same_root(service)

    assert kinds(now) == []  # it may still be under way
    assert kinds(now + LATER) != []
    look(now + LATER, fix=True)

    assert kinds(now + LATER + LATER) == []
    row = DeviceCertificate.objects.get()
    assert row.status == ("active" if survives else "failed")


def _same_root(service: CertificateManagementService) -> None:
    settings.CERTIFICATES_ROOT = str(service.ca.store.root)


def test_a_certificate_file_that_is_gone_or_different_is_written_again(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = server_made(service, device, now)
    path = service.ca.store.certificate_of(device.pk)
    for harm in (path.unlink, lambda: path.write_text("rubbish")):
        harm()
        assert len(kinds(now)) == 1
        look(now, fix=True)
        assert path.read_text() == row.pem
    assert kinds(now) == []


def test_a_lost_key_is_mended_by_a_new_pair(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = server_made(service, device, now)
    service.ca.store.key_of(device.pk).unlink()

    assert kinds(now) == ["key_file_missing"]
    look(now, fix=True)

    assert kinds(now) == []
    renewed = row.successors.get()
    key = keys.from_pem(service.ca.store.key_of(device.pk).read_bytes())
    assert key.public_key() == renewed.public_key()


def test_a_key_of_another_certificate_is_found_out(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    server_made(service, device, now)
    service.ca.store.key_of(device.pk).write_bytes(keys.to_pem(ec_key()))

    assert kinds(now) == ["key_file_mismatched"]


def test_an_open_key_is_closed(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    server_made(service, device, now)
    path = service.ca.store.key_of(device.pk)
    path.chmod(0o644)

    assert kinds(now, fix=True) == ["key_file_readable_by_others"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_key_of_a_revoked_certificate_is_destroyed(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    row = server_made(service, device, now)
    path = service.ca.store.key_of(device.pk)
    assert path.exists()

    service.revoke_certificate(row, reason="keyCompromise", now=now)
    deliver(now=now)

    assert not path.exists()
    assert kinds(now) == []


def test_what_a_retired_device_left_half_done_is_buried(
    service: CertificateManagementService,
    device: Device,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(*_: Any, **__: Any) -> Any:
        raise Killed

    monkeypatch.setattr(issuance, "activate", killed)
    monkeypatch.setattr(issuance, "bury", lambda *_, **__: None)
    with pytest.raises(Killed):
        server_made(service, device, now)
    monkeypatch.undo()
    _same_root(service)
    registration.retire(device=device, now=now)

    look(now + LATER, fix=True)

    assert kinds(now + LATER) == []
    assert DeviceCertificate.objects.get().status == "failed"


def test_the_command_says_what_differs_and_mends_it(
    service: CertificateManagementService,
    device: Device,
    now: datetime,
    capsys: Any,
) -> None:
    server_made(service, device, now)
    call_command("check_integrity")
    service.ca.store.certificate_of(device.pk).unlink()

    with pytest.raises(CommandError, match="1 differ"):
        call_command("check_integrity")
    call_command("check_integrity", fix=True)
    call_command("check_integrity")

    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "Records and files agree.",
        "1 mended.",
        "Records and files agree.",
    ]
    assert f"{device.pk}-cert.pem is missing" in said.err


@pytest.mark.django_db(transaction=True)
def test_a_real_worker_mends(
    celery_worker: None,
    service: CertificateManagementService,
    device: Device,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(*_: Any, **__: Any) -> Any:
        raise Killed

    monkeypatch.setattr(issuance, "activate", killed)
    monkeypatch.setattr(issuance, "bury", lambda *_, **__: None)
    with pytest.raises(Killed):
        server_made(service, device, datetime.now(UTC) - LATER)
    monkeypatch.undo()

    repair_certificates.delay()

    status: Callable[[], str] = lambda: DeviceCertificate.objects.get().status  # noqa: E731
    until(lambda: status() == "active")


def test_a_stuck_issuance_does_not_supersede_a_newer_certificate(
    service: CertificateManagementService,
    device: Device,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(*_: Any, **__: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(issuance, "activate", killed)
        patch.setattr(issuance, "bury", lambda *_, **__: None)
        with pytest.raises(Killed):
            server_made(service, device, now)
    newer = server_made(service, device, now + timedelta(minutes=1))

    look(now + LATER, fix=True)

    newer.refresh_from_db()
    assert newer.status == "active"
    key = keys.from_pem(service.ca.store.key_of(device.pk).read_bytes())
    assert key.public_key() == newer.public_key()
    assert kinds(now + LATER) == []


def test_a_walk_that_read_a_certificate_before_its_renewal_leaves_the_new_file(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    stale = server_made(service, device, now)
    renewed = service.renew_certificate(stale, now=now)
    check = IntegrityCheck(service, clock=lambda: now, fix=True)

    assert list(check._mended(stale)) == []
    assert service.ca.store.certificate_of(device.pk).read_text() == renewed.pem


def test_what_a_killed_write_left_is_found_and_removed(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    server_made(service, device, now)
    half = service.ca.store.private / f".{device.pk}-key.pem.4711.beef"
    half.write_text("half a key")
    long_after = now + timedelta(days=36_500)

    assert kinds(long_after, fix=True) == ["staged_file_left"]
    assert not half.exists()
