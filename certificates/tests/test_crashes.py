"""Killed with -9 at every step of every verb: nothing is lost, nothing is left half."""

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
from provisioning.tests.processes import other_process
from provisioning.var import BASE
from tenants.context import tenant_scope

pytestmark = pytest.mark.django_db(transaction=True)
MOST_STEPS = 120
AROUND_A_SIGNATURE = {
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
Dying = Callable[..., dict[str, Any]]


@pytest.fixture
def dying(transactional_db: None) -> Iterator[Dying]:
    """Give an order to a process that dies at some step; what became of it."""
    with subprocess.Popen(
        [sys.executable, "-m", "certificates.tests.crash_points"],
        cwd=BASE,
        env={**other_process(), "CRL_SHARDS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def order(verb: str, device: Device, step: int, **more: Any) -> dict[str, Any]:
            said = {"verb": verb, "device": str(device.pk), "step": step, **more}
            stdin.write(json.dumps({"now": NOW.isoformat(), **said}) + "\n")
            stdin.flush()
            outcome: dict[str, Any] = json.loads(stdout.readline())
            assert "failed" not in outcome, said
            return outcome

        yield order
        stdin.close()


@pytest.fixture
def service(settings: Any) -> CertificateManagementService:
    settings.CRL_SHARDS = 1  # opened beforehand, so that each run has the same steps
    made = CertificateManagementService()
    made.issue_certificate(device=DeviceFactory.create(), key_type="ec", now=NOW)
    return made


@pytest.fixture
def certified(
    service: CertificateManagementService,
) -> Callable[[], tuple[Device, dict[str, Any]]]:
    """A device with a certificate whose key the server has made."""

    def prepare() -> tuple[Device, dict[str, Any]]:
        device = DeviceFactory.create()
        service.issue_certificate(device=device, key_type="ec", now=NOW)
        return device, {}

    return prepare


def every_step(
    dying: Dying, verb: str, prepare: Callable[[], tuple[Device, dict[str, Any]]]
) -> Iterator[tuple[Device, str]]:
    """Die at the first step, then at the second, until it is through: each time anew."""
    deaths: list[str] = []
    for step in range(MOST_STEPS):
        device, more = prepare()
        outcome = dying(verb, device, step, **more)
        if "steps" in outcome:
            assert outcome["steps"] == step
            assert {"before commit", "after commit"} <= set(deaths)
            assert verb not in ("issue", "renew") or set(deaths) >= AROUND_A_SIGNATURE
            yield device, "not at all"
            return
        deaths.append(outcome["died"])
        yield device, outcome["died"]
    pytest.fail("it takes more steps than anybody can believe")


def assert_nothing_wrong_now(service: CertificateManagementService, died: str) -> None:
    """What holds at every moment, before anybody has mended anything."""
    store = service.ca.store
    folders = (store.public, store.staged)
    for path in (path for folder in folders for path in folder.glob("*-cert.pem")):
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        recorded = DeviceCertificate.objects.filter(
            serial_number=f"{certificate.serial_number:x}"
        )
        assert recorded.exists(), f"{died}: {path.name} cannot be revoked"
    for path in (path for folder in folders for path in folder.glob("*-key.pem")):
        assert key_digest(path), f"{died}: {path.name} is not whole"
    for path in store.private.glob("*-key.pem"):
        beside = store.public / path.name.replace("-key", "-cert")
        if beside.exists():
            certificate = x509.load_pem_x509_certificate(beside.read_bytes())
            own = keys.public_digest(keys.acceptable(certificate.public_key()))
            assert key_digest(path) == own, f"{died}: {path.name} is another's"


def mended(service: CertificateManagementService, *, by_hand: bool = False) -> None:
    """What beat does every five minutes, some minutes later; or the operator."""
    check = IntegrityCheck(service, clock=lambda: LATER, fix=True)
    if by_hand:
        list(check.run())
    list(chain(check.interrupted(), check.left_behind()))
    remove_delivered_keys(service.ca.store, since=NOW - timedelta(days=1))
    assert list(IntegrityCheck(service, clock=lambda: LATER, fix=False).run()) == []
    assert not DeviceCertificate.objects.pending().exists()


def assert_device_is_well(
    service: CertificateManagementService, device: Device, died: str
) -> None:
    """It has what it had or what it was to get, and can go on from there."""
    signed = DeviceCertificate.objects.signed().of_device(device.pk)
    in_use = signed.active().first()
    if in_use is not None:
        on_file = service.ca.store.certificate_of(device.pk).read_text()
        assert on_file == in_use.pem, died
        assert authorities.is_ours(in_use.signed_certificate())
        service.renew_certificate(in_use, now=LATER)
    else:
        service.issue_certificate(device=device, key_type="ec", now=LATER)
    assert signed.active().count() == 1, died


def no_serial_number_is_spent_twice() -> None:
    numbers = DeviceCertificate.objects.values_list("serial_number", flat=True)
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("brought", [True, False], ids=["CSR", "made here"])
def test_killed_at_any_step_of_an_issuance(
    dying: Dying, service: CertificateManagementService, brought: bool
) -> None:
    def prepare() -> tuple[Device, dict[str, Any]]:
        csr = request_for(ec_key()) if brought else None
        return DeviceFactory.create(), {"csr": csr}

    for device, died in every_step(dying, "issue", prepare):
        assert_nothing_wrong_now(service, died)
        mended(service)
        assert_device_is_well(service, device, died)
    no_serial_number_is_spent_twice()


@pytest.mark.parametrize("brought", [True, False], ids=["CSR", "made here"])
def test_killed_at_any_step_of_a_renewal(
    dying: Dying, service: CertificateManagementService, brought: bool
) -> None:
    def prepare() -> tuple[Device, dict[str, Any]]:
        device = DeviceFactory.create()
        csr = request_for(ec_key()) if brought else None
        service.issue_certificate(device=device, csr_pem=csr, key_type="ec", now=NOW)
        return device, {}

    for device, died in every_step(dying, "renew", prepare):
        certificate_in_use(device)  # at every moment there is one
        assert_nothing_wrong_now(service, died)
        mended(service)
        assert_device_is_well(service, device, died)
    no_serial_number_is_spent_twice()


def test_killed_at_any_step_of_a_revocation(
    dying: Dying,
    service: CertificateManagementService,
    certified: Callable[[], tuple[Device, dict[str, Any]]],
) -> None:
    for device, died in every_step(dying, "revoke", certified):
        row = DeviceCertificate.objects.of_device(device.pk).get()
        ends = row.status == "revoked"
        assert (row.revoked_at is not None) == ends, died
        service.revoke_certificate(row, reason="keyCompromise", now=LATER)
        row.refresh_from_db()
        assert row.revoked_at == (NOW if ends else LATER), died
        mended(service, by_hand=True)  # the event that ends its key is delivered later
        assert_device_is_well(service, device, died)


def test_killed_at_any_step_of_the_delivery_of_a_key(
    dying: Dying,
    service: CertificateManagementService,
    certified: Callable[[], tuple[Device, dict[str, Any]]],
) -> None:
    for device, died in every_step(dying, "deliver", certified):
        row = certificate_in_use(device)
        assert_nothing_wrong_now(service, died)
        mended(service)
        left = service.ca.store.key_of(device.pk).exists()
        assert left == (row.key_delivered_at is None), died
        with tenant_scope(device.tenant_id):
            assert_device_is_well(service, device, died)
