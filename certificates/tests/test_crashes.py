"""Tests of recovery after SIGKILL at every step of every certificate operation."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import pytest
from cryptography import x509

from certificates.models import DeviceCertificate
from certificates.pki import keys
from certificates.services import authorities, issuance
from certificates.services.certificate_management import (
    CertificateManagementService,
    certificate_in_use,
)
from certificates.services.file_comparison import key_digest
from certificates.services.integrity import IntegrityCheck
from certificates.services.key_removal import remove_delivered_keys
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from provisioning.tests.processes import subprocess_environment
from provisioning.var import BASE
from tenants.context import tenant_scope

pytestmark = pytest.mark.django_db(transaction=True)
MAX_STEPS = 120
SIGNATURE_STEPS = {
    "before signature",
    "after signature",
    "before open",
    "after open",
    "before fsync",
    "after fsync",
    "before rename",
    "after rename",
}
NOW = datetime.now(UTC)
LATER = NOW + issuance.ABANDONED_AFTER + timedelta(minutes=1)
Crash = Callable[..., dict[str, Any]]


@pytest.fixture
def crash(transactional_db: None) -> Iterator[Crash]:
    """Return a function that runs an operation and kills it at a given step.

    The function returns the outcome, as described in `crash_points`.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "certificates.tests.crash_points"],
        cwd=BASE,
        env={**subprocess_environment(), "CRL_SHARDS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def run(operation: str, device: Device, step: int, **more: Any) -> dict[str, Any]:
            request = {"operation": operation, "device": str(device.pk), "step": step, **more}
            stdin.write(json.dumps({"now": NOW.isoformat(), **request}) + "\n")
            stdin.flush()
            outcome: dict[str, Any] = json.loads(stdout.readline())
            assert "failed" not in outcome, request
            return outcome

        yield run
        stdin.close()


@pytest.fixture
def service(settings: Any) -> CertificateManagementService:
    settings.CRL_SHARDS = 1  # created below, so that each run has the same steps
    service = CertificateManagementService()
    service.issue_certificate(device=DeviceFactory.create(), key_type="ec", now=NOW)
    return service


@pytest.fixture
def device_with_key(
    service: CertificateManagementService,
) -> Callable[[], tuple[Device, dict[str, Any]]]:
    """Return a function that creates a device with a server-generated key."""

    def prepare() -> tuple[Device, dict[str, Any]]:
        device = DeviceFactory.create()
        service.issue_certificate(device=device, key_type="ec", now=NOW)
        return device, {}

    return prepare


def kill_at_every_step(
    crash: Crash, operation: str, prepare: Callable[[], tuple[Device, dict[str, Any]]]
) -> Iterator[tuple[Device, str]]:
    """Run an operation once for each of its steps, and kill it at that step.

    Each run uses a new device. Yield the device and the name of the step. The last run
    completes, and its step is "never".
    """
    killed_at: list[str] = []
    for step in range(MAX_STEPS):
        device, more = prepare()
        outcome = crash(operation, device, step, **more)
        if "steps" in outcome:
            assert outcome["steps"] == step
            assert {"before commit", "after commit"} <= set(killed_at)
            assert operation not in ("issue", "renew") or set(killed_at) >= SIGNATURE_STEPS
            yield device, "never"
            return
        killed_at.append(outcome["killed_at"])
        yield device, outcome["killed_at"]
    pytest.fail("The operation has more steps than expected.")


def assert_consistent(service: CertificateManagementService, crash_step: str) -> None:
    """Check the invariants that hold at every moment, even before a repair."""
    store = service.ca.store
    folders = (store.public, store.staged)
    for path in (path for folder in folders for path in folder.glob("*-cert.pem")):
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        recorded = DeviceCertificate.objects.filter(serial_number=f"{certificate.serial_number:x}")
        assert recorded.exists(), f"{crash_step}: {path.name} cannot be revoked"
    for path in (path for folder in folders for path in folder.glob("*-key.pem")):
        assert key_digest(path), f"{crash_step}: {path.name} is incomplete"
    for path in store.private.glob("*-key.pem"):
        certificate_path = store.public / path.name.replace("-key", "-cert")
        if certificate_path.exists():
            certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
            expected = keys.public_digest(keys.require_acceptable_key(certificate.public_key()))
            assert key_digest(path) == expected, f"{crash_step}: {path.name} is of another key"


def repair(service: CertificateManagementService, *, by_hand: bool = False) -> None:
    """Repair what the killed operation left and check that no difference remains.

    Args:
        by_hand: Whether to run also the full check, as an operator would. Otherwise run
            only the part that beat runs every five minutes.
    """
    check = IntegrityCheck(service, clock=lambda: LATER, fix=True)
    if by_hand:
        list(check.run())
    list(chain(check.interrupted(), check.leftover_files()))
    remove_delivered_keys(service.ca.store, since=NOW - timedelta(days=1))
    assert list(IntegrityCheck(service, clock=lambda: LATER, fix=False).run()) == []
    assert not DeviceCertificate.objects.pending().exists()


def assert_device_is_well(
    service: CertificateManagementService, device: Device, crash_step: str
) -> None:
    """Check that the device has one valid certificate and can get the next one."""
    signed = DeviceCertificate.objects.signed().of_device(device.pk)
    in_use = signed.active().first()
    if in_use is not None:
        on_file = service.ca.store.certificate_of(device.pk).read_text()
        assert on_file == in_use.pem, crash_step
        assert authorities.is_issued_by_trusted_ca(in_use.signed_certificate())
        service.renew_certificate(in_use, now=LATER)
    else:
        service.issue_certificate(device=device, key_type="ec", now=LATER)
    assert signed.active().count() == 1, crash_step


def assert_serial_numbers_are_unique() -> None:
    numbers = DeviceCertificate.objects.values_list("serial_number", flat=True)
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("with_csr", [True, False], ids=["CSR", "server-generated key"])
def test_an_issuance_killed_at_any_step_is_recovered(
    crash: Crash, service: CertificateManagementService, with_csr: bool
) -> None:
    def prepare() -> tuple[Device, dict[str, Any]]:
        csr = request_for(ec_key()) if with_csr else None
        return DeviceFactory.create(), {"csr": csr}

    for device, crash_step in kill_at_every_step(crash, "issue", prepare):
        assert_consistent(service, crash_step)
        repair(service)
        assert_device_is_well(service, device, crash_step)
    assert_serial_numbers_are_unique()


@pytest.mark.parametrize("with_csr", [True, False], ids=["CSR", "server-generated key"])
def test_a_renewal_killed_at_any_step_is_recovered(
    crash: Crash, service: CertificateManagementService, with_csr: bool
) -> None:
    def prepare() -> tuple[Device, dict[str, Any]]:
        device = DeviceFactory.create()
        csr = request_for(ec_key()) if with_csr else None
        service.issue_certificate(device=device, csr_pem=csr, key_type="ec", now=NOW)
        return device, {}

    for device, crash_step in kill_at_every_step(crash, "renew", prepare):
        certificate_in_use(device)  # raises if no certificate is in use
        assert_consistent(service, crash_step)
        repair(service)
        assert_device_is_well(service, device, crash_step)
    assert_serial_numbers_are_unique()


def test_a_revocation_killed_at_any_step_is_recovered(
    crash: Crash,
    service: CertificateManagementService,
    device_with_key: Callable[[], tuple[Device, dict[str, Any]]],
) -> None:
    for device, crash_step in kill_at_every_step(crash, "revoke", device_with_key):
        row = DeviceCertificate.objects.of_device(device.pk).get()
        is_revoked = row.status == "revoked"
        assert (row.revoked_at is not None) == is_revoked, crash_step
        service.revoke_certificate(row, reason="keyCompromise", now=LATER)
        row.refresh_from_db()
        assert row.revoked_at == (NOW if is_revoked else LATER), crash_step
        # Run the full check, because the event that removes the key is delivered later.
        repair(service, by_hand=True)
        assert_device_is_well(service, device, crash_step)


def test_a_key_delivery_killed_at_any_step_is_recovered(
    crash: Crash,
    service: CertificateManagementService,
    device_with_key: Callable[[], tuple[Device, dict[str, Any]]],
) -> None:
    for device, crash_step in kill_at_every_step(crash, "deliver", device_with_key):
        row = certificate_in_use(device)
        assert_consistent(service, crash_step)
        repair(service)
        key_exists = service.ca.store.key_of(device.pk).exists()
        assert key_exists == (row.key_delivered_at is None), crash_step
        with tenant_scope(device.tenant_id):
            assert_device_is_well(service, device, crash_step)
