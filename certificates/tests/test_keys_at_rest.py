"""Private keys: encrypted, looked after, handed out once, or never here at all."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    pkcs12,
)
from django.core.management import CommandError, call_command
from rest_framework.test import APIClient

from certificates.errors import AuthorityUnavailable
from certificates.models import CertificateAuthority, DeviceCertificate
from certificates.pki import keys
from certificates.services import authority_creation, revocation_lists
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.services.file_store import InsecureFile, read_secret
from certificates.services.integrity import IntegrityCheck
from certificates.tests.issued import issue_certificate
from certificates.tests.keys import ec_key, request_for
from certificates.tests.peers import needs, run_tool, softhsm_library
from devices.registry.models import Device
from events.models import Event
from provisioning.tests.processes import other_process

pytestmark = pytest.mark.django_db
AsDevice = Callable[[Device], APIClient]
KEK, NEXT_KEK = "k" * 40, "n" * 40


@pytest.fixture
def service() -> CertificateManagementService:
    return CertificateManagementService()


def made_here(
    service: CertificateManagementService, device: Device, now: datetime | None = None
) -> tuple[DeviceCertificate, Path]:
    row = service.issue_certificate(
        device=device, key_type="ec", now=now or datetime.now(UTC)
    )
    return row, service.ca.store.key_of(device.pk)


def reload_authority(service: CertificateManagementService) -> None:
    """As another process, which has not loaded it."""
    service.ca.store.ca_certificate.touch()


# --- Encrypted ---------------------------------------------------------------------------


def test_with_a_key_encryption_key_no_key_lies_in_the_clear(
    service: CertificateManagementService, device: Device, settings: Any, tmp_path: Path
) -> None:
    settings.KEY_ENCRYPTION_KEY = KEK
    settings.CERTIFICATES_ROOT = str(tmp_path / "new")
    service = CertificateManagementService()

    row, path = made_here(service, device)

    for file in (path, service.ca.store.ca_key):
        assert b"ENCRYPTED" in file.read_bytes()
    key = load_pem_private_key(path.read_bytes(), KEK.encode())
    assert key.public_key() == row.public_key()
    assert list(IntegrityCheck(service, clock=row_clock, fix=False).run()) == []


def row_clock() -> datetime:
    return datetime.now(UTC)


def test_without_it_they_are_as_they_were(
    service: CertificateManagementService, device: Device
) -> None:
    assert b"ENCRYPTED" not in made_here(service, device)[1].read_bytes()


def test_the_keys_are_closed_anew_when_it_changes(
    service: CertificateManagementService, device: Device, settings: Any, capsys: Any
) -> None:
    row, path = made_here(service, device)

    def rewritten(**configured: Any) -> str:
        for name, value in configured.items():
            setattr(settings, name, value)
        call_command("encrypt_keys")
        return str(capsys.readouterr().out)

    assert "2 keys rewritten" in rewritten(KEY_ENCRYPTION_KEY=KEK)
    assert "0 keys rewritten" in rewritten()
    fallbacks = {"KEY_ENCRYPTION_KEY_FALLBACKS": [KEK]}
    assert "2 keys" in rewritten(KEY_ENCRYPTION_KEY=NEXT_KEK, **fallbacks)
    assert "0 keys" in rewritten(KEY_ENCRYPTION_KEY_FALLBACKS=[])

    key = load_pem_private_key(path.read_bytes(), NEXT_KEK.encode())
    assert key.public_key() == row.public_key()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    reload_authority(service)
    assert service.ca.issuer().key is not None


def test_a_key_that_no_known_secret_opens_is_said_to_be_so_and_left_alone(
    service: CertificateManagementService, device: Device, settings: Any
) -> None:
    settings.KEY_ENCRYPTION_KEY = KEK
    _, path = made_here(service, device)
    before = path.read_bytes()
    settings.KEY_ENCRYPTION_KEY = NEXT_KEK

    with pytest.raises(CommandError, match="1 refused"):
        call_command("encrypt_keys")

    assert path.read_bytes() == before
    check = IntegrityCheck(service, clock=row_clock, fix=True)
    found = {item.kind: item.mended for item in check.run()}
    assert found == {"key_file_closed": False}, "it is said what is wrong, and left"


# --- Looked after -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606])
def test_a_key_that_others_may_read_is_not_used(
    service: CertificateManagementService, device: Device, mode: int
) -> None:
    made_here(service, device)
    service.ca.store.ca_key.chmod(mode)
    reload_authority(service)

    with pytest.raises(AuthorityUnavailable, match="read by others"):
        service.ca.issuer()


def test_a_link_in_the_place_of_a_key_is_not_followed(
    service: CertificateManagementService, device: Device, tmp_path: Path
) -> None:
    made_here(service, device)
    path = service.ca.store.ca_key
    path.rename(tmp_path / "elsewhere.pem")
    path.symlink_to(tmp_path / "elsewhere.pem")
    reload_authority(service)

    with pytest.raises(AuthorityUnavailable, match="plain file"):
        service.ca.issuer()


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_not_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "key.pem"
    path.mkdir() if kind == "folder" else os.mkfifo(path, 0o600)

    with pytest.raises(InsecureFile, match="plain file"):
        read_secret(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_somebody_elses_file_is_not_used(
    service: CertificateManagementService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.authority(now=datetime.now(UTC))
    path = service.ca.store.ca_key
    os.chown(path, 12345, 12345)

    with pytest.raises(InsecureFile, match="somebody else"):
        read_secret(path)


def test_a_devices_key_that_was_replaced_by_a_link_is_not_handed_out(
    service: CertificateManagementService,
    device: Device,
    as_device: AsDevice,
    tmp_path: Path,
) -> None:
    _, path = made_here(service, device)
    path.unlink()
    (tmp_path / "other.pem").write_bytes(keys.to_pem(ec_key()))
    path.symlink_to(tmp_path / "other.pem")

    answer = as_device(device).post("/devices/me/certificate/bundle", {})

    assert answer.status_code == 409
    assert b"PRIVATE" not in answer.content


# --- Handed out once ----------------------------------------------------------------------


def test_a_device_asks_for_a_key_and_gets_it_once(
    device: Device, as_device: AsDevice, service: CertificateManagementService
) -> None:
    box = as_device(device)
    made = box.post("/devices/me/certificate", {"key_type": "ec"})
    assert made.status_code == 201
    assert "PRIVATE" not in made.content.decode()

    first = box.post("/devices/me/certificate/bundle", {})
    again = box.post("/devices/me/certificate/bundle", {})

    assert (first.status_code, first["Content-Type"]) == (200, "application/x-pem-file")
    assert first["Cache-Control"] == "no-store"
    key = load_pem_private_key(first.content, None)
    certificates = x509.load_pem_x509_certificates(first.content)
    assert certificates[0].public_key() == key.public_key()
    assert certificates[1:] == list(service.ca.issuer().chain)
    assert again.status_code == 409
    assert again.json()["errors"][0]["code"] == "key_not_deliverable"


def test_then_the_key_is_here_no_more_and_that_is_an_event(
    device: Device, as_device: AsDevice, service: CertificateManagementService
) -> None:
    row, path = made_here(service, device)

    as_device(device).post("/devices/me/certificate/bundle", {})

    assert not path.exists()
    row.refresh_from_db()
    assert row.key_delivered_at is not None
    event = Event.every_tenant.named("certificate.key_delivered").get()
    assert (event.device_id, event.data["serial_number"]) == (
        device.pk,
        row.serial_number,
    )
    assert "PRIVATE" not in str(event.data)
    check = IntegrityCheck(service, clock=row_clock, fix=False)
    assert list(check.run()) == [], "its absence is no difference"


def test_a_delivered_key_is_made_anew_at_the_renewal(
    device: Device, as_device: AsDevice, service: CertificateManagementService
) -> None:
    row, _ = made_here(service, device)
    box = as_device(device)
    first = box.post("/devices/me/certificate/bundle", {})

    renewed = service.renew_certificate(row, now=datetime.now(UTC))
    second = box.post("/devices/me/certificate/bundle", {})

    assert second.status_code == 200
    assert renewed.public_key() != row.public_key()
    assert second.content != first.content


def test_an_answer_that_was_lost_is_made_good_by_a_new_key(
    device: Device, as_device: AsDevice, service: CertificateManagementService
) -> None:
    made_here(service, device)
    box = as_device(device)
    box.post("/devices/me/certificate/bundle", {})

    assert box.post("/devices/me/certificate", {"key_type": "ec"}).status_code == 201
    assert box.post("/devices/me/certificate/bundle", {}).status_code == 200


def test_a_key_that_the_device_made_is_not_here_to_be_handed_out(
    device: Device, as_device: AsDevice
) -> None:
    box = as_device(device)
    assert box.post("/devices/me/certificate/bundle", {}).status_code == 404

    issue_certificate(device, datetime.now(UTC))

    assert box.post("/devices/me/certificate/bundle", {}).status_code == 409


def test_the_bundle_can_be_pkcs_12_under_a_passphrase(
    device: Device, as_device: AsDevice, service: CertificateManagementService
) -> None:
    row, _ = made_here(service, device)
    box = as_device(device)
    wanted = {"form": "pkcs12", "passphrase": "correct horse"}
    run_failing_tool = box.post("/devices/me/certificate/bundle", {"form": "pkcs12"})
    assert run_failing_tool.status_code == 400

    answer = box.post("/devices/me/certificate/bundle", wanted)

    assert answer["Content-Type"] == "application/x-pkcs12"
    key, certificate, chain = pkcs12.load_key_and_certificates(
        answer.content, b"correct horse"
    )
    assert key is not None
    assert certificate == row.signed_certificate()
    assert key.public_key() == row.public_key()
    assert chain == list(service.ca.issuer().chain)


def test_a_passphrase_closes_the_key_in_pem(
    device: Device, as_device: AsDevice, service: CertificateManagementService
) -> None:
    made_here(service, device)
    wanted = {"form": "pem", "passphrase": "correct horse"}

    answer = as_device(device).post("/devices/me/certificate/bundle", wanted)

    with pytest.raises(TypeError):
        load_pem_private_key(answer.content, None)
    assert load_pem_private_key(answer.content, b"correct horse")


@needs("openssl")
def test_openssl_reads_the_pkcs_12(
    device: Device,
    as_device: AsDevice,
    service: CertificateManagementService,
    tmp_path: Path,
) -> None:
    made_here(service, device)
    wanted = {"form": "pkcs12", "passphrase": "horse"}
    answer = as_device(device).post("/devices/me/certificate/bundle", wanted)
    path = tmp_path / "bundle.p12"
    path.write_bytes(answer.content)

    output = run_tool(
        "openssl",
        "pkcs12",
        "-in",
        str(path),
        "-passin",
        "pass:horse",
        "-nodes",
        "-info",
    )

    assert "BEGIN PRIVATE KEY" in output
    assert f"Device-{device.pk}" in output


# --- In a token ----------------------------------------------------------------------------


@pytest.fixture
def token(tmp_path: Path, settings: Any) -> Iterator[Callable[[str], str]]:
    """A SoftHSM token of its own; makes a key in it and says its address."""
    folder = tmp_path / "tokens"
    folder.mkdir()
    configuration = tmp_path / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder}\nlog.level = ERROR\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    run_tool(
        "softhsm2-util",
        "--init-token",
        "--free",
        "--label",
        "provisioning",
        "--so-pin",
        "12345678",
        "--pin",
        "87654321",
    )
    settings.PKCS11_MODULE, settings.PKCS11_PIN = softhsm_library(), "87654321"

    def key_in_token(kind: str) -> str:
        run_tool(
            "pkcs11-tool",
            "--module",
            softhsm_library(),
            "--login",
            "--pin",
            "87654321",
            "--keypairgen",
            "--key-type",
            kind,
            "--label",
            "ca",
            "--id",
            "01",
        )
        return "pkcs11:token=provisioning;object=ca"

    yield key_in_token
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


IN_A_TOKEN = """
import sys
from datetime import UTC, datetime
import django
django.setup()
from django.core.management import call_command
from certificates import ocsp_answers, revocation_lists
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.services.certificate_management import CertificateManagementService
from devices.registry.models import Device
from tenants.context import every_tenant_scope, tenant_scope
call_command("init_ca", token_key=sys.argv[1])
service, now = CertificateManagementService(), datetime.now(UTC)
with every_tenant_scope():
    device = Device.every_tenant.get()
    with tenant_scope(device.tenant_id):
        row = service.issue_certificate(device=device, key_type="ec", now=now)
    print(revocation_lists.rebuild_due(service.ca, now=now), "lists")
    print(ocsp_answers.renew_responders(service.ca, now=now), "responder")
"""


@needs("softhsm2-util", "pkcs11-tool")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("kind", "expected"),
    [("rsa:3072", rsa.RSAPublicKey), ("EC:secp384r1", ec.EllipticCurvePublicKey)],
)
@pytest.mark.usefixtures("certificates_root")
def test_a_key_in_a_token_signs_certificates_lists_and_delegations(
    token: Callable[[str], str],
    device: Device,
    tmp_path: Path,
    settings: Any,
    kind: str,
    expected: type,
) -> None:
    """In a process of its own: a token's library is read once per process."""
    settings.CERTIFICATES_ROOT = str(tmp_path / "in-token")
    address = token(kind)

    done = subprocess.run(
        [sys.executable, "-c", IN_A_TOKEN, address],
        env={
            **other_process(),
            "PKCS11_MODULE": softhsm_library(),
            "PKCS11_PIN": "87654321",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert "2 lists" in done.stdout, done.stderr
    assert "1 responder" in done.stdout
    root = Path(settings.CERTIFICATES_ROOT)
    assert not (root / "ca-key.pem").exists()
    assert (root / "ca-key.uri").read_text().strip() == address
    authority = CertificateAuthority.objects.get().certificate()
    assert isinstance(authority.public_key(), expected)
    signed = DeviceCertificate.objects.get().signed_certificate()
    signed.verify_directly_issued_by(authority)


def test_without_the_token_the_authority_says_so(
    service: CertificateManagementService, settings: Any, tmp_path: Path
) -> None:
    settings.PKCS11_MODULE = "/no/such/library.so"

    with pytest.raises(AuthorityUnavailable, match="token"):
        authority_creation.holder_of(key=None, address="pkcs11:token=none;object=ca")
    with pytest.raises(AuthorityUnavailable, match="pkcs11:"):
        authority_creation.holder_of(key=None, address="file:/etc/passwd")


def test_an_authority_below_its_own_root_is_imported_with_its_chain(
    tmp_path: Path, device: Device, settings: Any, now: datetime
) -> None:
    elsewhere = DeviceCertificatesService(tmp_path / "elsewhere")
    elsewhere.initialize_ca(now=now, key_type="ec", with_root=True)
    settings.CERTIFICATES_ROOT = str(tmp_path / "here")
    here = CertificateManagementService()
    here.ca.import_ca(
        key=elsewhere.store.ca_key.read_bytes(),
        chain=elsewhere.store.ca_certificate.read_bytes(),
        now=now,
    )

    row = here.issue_certificate(device=device, csr_pem=request_for(ec_key()), now=now)

    levels = CertificateAuthority.objects.values_list("level", "status")
    assert sorted(levels) == [("issuing", "signing"), ("root", "trusted")]
    assert row.authority_key_id == here.ca.issuer().key_identifier.hex()
    # The root's key stayed elsewhere: its list cannot be built here, and that is all.
    assert revocation_lists.rebuild_due(here.ca, now=now) == 2
