"""Tests of stored private keys: encryption, file checks, delivery and tokens."""

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
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12
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
from certificates.tests.external_tools import requires_tools, run_tool, softhsm_library
from certificates.tests.issuance import issue_certificate
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device
from events.models import Event
from provisioning.tests.processes import subprocess_environment

pytestmark = pytest.mark.django_db
AsDevice = Callable[[Device], APIClient]
KEK, NEXT_KEK = "k" * 40, "n" * 40


@pytest.fixture
def service() -> CertificateManagementService:
    return CertificateManagementService()


def issue_with_server_key(
    service: CertificateManagementService, device: Device, now: datetime | None = None
) -> tuple[DeviceCertificate, Path]:
    row = service.issue_certificate(device=device, key_type="ec", now=now or datetime.now(UTC))
    return row, service.ca.store.key_of(device.pk)


def reload_authority(service: CertificateManagementService) -> None:
    """Discard the cached CA key, as in a new process."""
    service.ca.store.ca_certificate.touch()


# --- Encryption ----------------------------------------------------------------------------


def test_all_keys_are_encrypted_with_the_key_encryption_key(
    service: CertificateManagementService, device: Device, settings: Any, tmp_path: Path
) -> None:
    settings.KEY_ENCRYPTION_KEY = KEK
    settings.CERTIFICATES_ROOT = str(tmp_path / "new")
    service = CertificateManagementService()

    row, path = issue_with_server_key(service, device)

    for file in (path, service.ca.store.ca_key):
        assert b"ENCRYPTED" in file.read_bytes()
    key = load_pem_private_key(path.read_bytes(), KEK.encode())
    assert key.public_key() == row.public_key()
    assert list(IntegrityCheck(service, clock=clock, fix=False).run()) == []


def clock() -> datetime:
    return datetime.now(UTC)


def test_keys_are_not_encrypted_without_a_key_encryption_key(
    service: CertificateManagementService, device: Device
) -> None:
    assert b"ENCRYPTED" not in issue_with_server_key(service, device)[1].read_bytes()


def test_encrypt_keys_re_encrypts_after_a_change_of_the_key_encryption_key(
    service: CertificateManagementService, device: Device, settings: Any, capsys: Any
) -> None:
    row, path = issue_with_server_key(service, device)

    def encrypt_keys(**values: Any) -> str:
        for name, value in values.items():
            setattr(settings, name, value)
        call_command("encrypt_keys")
        return str(capsys.readouterr().out)

    assert "2 keys rewritten" in encrypt_keys(KEY_ENCRYPTION_KEY=KEK)
    assert "0 keys rewritten" in encrypt_keys()
    fallbacks = {"KEY_ENCRYPTION_KEY_FALLBACKS": [KEK]}
    assert "2 keys" in encrypt_keys(KEY_ENCRYPTION_KEY=NEXT_KEK, **fallbacks)
    assert "0 keys" in encrypt_keys(KEY_ENCRYPTION_KEY_FALLBACKS=[])

    key = load_pem_private_key(path.read_bytes(), NEXT_KEK.encode())
    assert key.public_key() == row.public_key()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    reload_authority(service)
    assert service.ca.issuer().key is not None


def test_a_key_that_cannot_be_decrypted_is_reported_and_not_changed(
    service: CertificateManagementService, device: Device, settings: Any
) -> None:
    settings.KEY_ENCRYPTION_KEY = KEK
    _, path = issue_with_server_key(service, device)
    previous = path.read_bytes()
    settings.KEY_ENCRYPTION_KEY = NEXT_KEK

    with pytest.raises(CommandError, match="1 failed"):
        call_command("encrypt_keys")

    assert path.read_bytes() == previous
    check = IntegrityCheck(service, clock=clock, fix=True)
    repaired = {item.kind: item.mended for item in check.run()}
    assert repaired == {"key_file_closed": False}, "the key is reported and not changed"


# --- File checks ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606])
def test_a_ca_key_readable_by_others_is_not_used(
    service: CertificateManagementService, device: Device, mode: int
) -> None:
    issue_with_server_key(service, device)
    service.ca.store.ca_key.chmod(mode)
    reload_authority(service)

    with pytest.raises(AuthorityUnavailable, match="read by others"):
        service.ca.issuer()


def test_a_symbolic_link_is_not_accepted_as_a_key(
    service: CertificateManagementService, device: Device, tmp_path: Path
) -> None:
    issue_with_server_key(service, device)
    path = service.ca.store.ca_key
    path.rename(tmp_path / "elsewhere.pem")
    path.symlink_to(tmp_path / "elsewhere.pem")
    reload_authority(service)

    with pytest.raises(AuthorityUnavailable, match="regular file"):
        service.ca.issuer()


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_a_folder_or_pipe_is_not_accepted_as_a_key(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "key.pem"
    path.mkdir() if kind == "folder" else os.mkfifo(path, 0o600)

    with pytest.raises(InsecureFile, match="regular file"):
        read_secret(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of a file")
def test_a_key_file_of_another_user_is_not_used(
    service: CertificateManagementService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.authority(now=datetime.now(UTC))
    path = service.ca.store.ca_key
    os.chown(path, 12345, 12345)

    with pytest.raises(InsecureFile, match="another user"):
        read_secret(path)


def test_a_device_key_replaced_by_a_link_is_not_delivered(
    service: CertificateManagementService, device: Device, as_device: AsDevice, tmp_path: Path
) -> None:
    _, path = issue_with_server_key(service, device)
    path.unlink()
    (tmp_path / "other.pem").write_bytes(keys.to_pem(ec_key()))
    path.symlink_to(tmp_path / "other.pem")

    response = as_device(device).post("/devices/me/certificate/bundle", {})

    assert response.status_code == 409
    assert b"PRIVATE" not in response.content


# --- Delivery ------------------------------------------------------------------------------


def test_a_server_generated_key_is_delivered_once(
    device: Device, as_device: AsDevice, service: CertificateManagementService
) -> None:
    client = as_device(device)
    created = client.post("/devices/me/certificate", {"key_type": "ec"})
    assert created.status_code == 201
    assert "PRIVATE" not in created.content.decode()

    first = client.post("/devices/me/certificate/bundle", {})
    second = client.post("/devices/me/certificate/bundle", {})

    assert (first.status_code, first["Content-Type"]) == (200, "application/x-pem-file")
    assert first["Cache-Control"] == "no-store"
    key = load_pem_private_key(first.content, None)
    certificates = x509.load_pem_x509_certificates(first.content)
    assert certificates[0].public_key() == key.public_key()
    assert certificates[1:] == list(service.ca.issuer().chain)
    assert second.status_code == 409
    assert second.json()["errors"][0]["code"] == "key_not_deliverable"


def test_a_delivered_key_is_deleted_and_an_event_is_recorded(
    device: Device, as_device: AsDevice, service: CertificateManagementService
) -> None:
    row, path = issue_with_server_key(service, device)

    as_device(device).post("/devices/me/certificate/bundle", {})

    assert not path.exists()
    row.refresh_from_db()
    assert row.key_delivered_at is not None
    event = Event.every_tenant.named("certificate.key_delivered").get()
    assert (event.device_id, event.data["serial_number"]) == (device.pk, row.serial_number)
    assert "PRIVATE" not in str(event.data)
    check = IntegrityCheck(service, clock=clock, fix=False)
    assert list(check.run()) == [], "a delivered key is not reported as missing"


def test_a_renewal_replaces_a_delivered_key(
    device: Device, as_device: AsDevice, service: CertificateManagementService
) -> None:
    row, _ = issue_with_server_key(service, device)
    client = as_device(device)
    first = client.post("/devices/me/certificate/bundle", {})

    renewed = service.renew_certificate(row, now=datetime.now(UTC))
    second = client.post("/devices/me/certificate/bundle", {})

    assert second.status_code == 200
    assert renewed.public_key() != row.public_key()
    assert second.content != first.content


def test_after_a_lost_response_a_device_can_request_a_new_key(
    device: Device, as_device: AsDevice, service: CertificateManagementService
) -> None:
    issue_with_server_key(service, device)
    client = as_device(device)
    client.post("/devices/me/certificate/bundle", {})

    assert client.post("/devices/me/certificate", {"key_type": "ec"}).status_code == 201
    assert client.post("/devices/me/certificate/bundle", {}).status_code == 200


def test_a_device_generated_key_is_not_deliverable(device: Device, as_device: AsDevice) -> None:
    client = as_device(device)
    assert client.post("/devices/me/certificate/bundle", {}).status_code == 404

    issue_certificate(device, datetime.now(UTC))

    assert client.post("/devices/me/certificate/bundle", {}).status_code == 409


def test_a_bundle_can_be_pkcs_12_with_a_passphrase(
    device: Device, as_device: AsDevice, service: CertificateManagementService
) -> None:
    row, _ = issue_with_server_key(service, device)
    client = as_device(device)
    body = {"form": "pkcs12", "passphrase": "correct horse"}
    rejected = client.post("/devices/me/certificate/bundle", {"form": "pkcs12"})
    assert rejected.status_code == 400

    response = client.post("/devices/me/certificate/bundle", body)

    assert response["Content-Type"] == "application/x-pkcs12"
    key, certificate, chain = pkcs12.load_key_and_certificates(response.content, b"correct horse")
    assert key is not None
    assert certificate == row.signed_certificate()
    assert key.public_key() == row.public_key()
    assert chain == list(service.ca.issuer().chain)


def test_a_passphrase_encrypts_the_key_in_pem(
    device: Device, as_device: AsDevice, service: CertificateManagementService
) -> None:
    issue_with_server_key(service, device)
    body = {"form": "pem", "passphrase": "correct horse"}

    response = as_device(device).post("/devices/me/certificate/bundle", body)

    with pytest.raises(TypeError):
        load_pem_private_key(response.content, None)
    assert load_pem_private_key(response.content, b"correct horse")


@requires_tools("openssl")
def test_openssl_reads_the_pkcs_12_bundle(
    device: Device, as_device: AsDevice, service: CertificateManagementService, tmp_path: Path
) -> None:
    issue_with_server_key(service, device)
    body = {"form": "pkcs12", "passphrase": "horse"}
    response = as_device(device).post("/devices/me/certificate/bundle", body)
    path = tmp_path / "bundle.p12"
    path.write_bytes(response.content)

    output = run_tool(
        "openssl", "pkcs12", "-in", str(path), "-passin", "pass:horse", "-nodes", "-info"
    )

    assert "BEGIN PRIVATE KEY" in output
    assert f"Device-{device.pk}" in output


# --- PKCS #11 tokens -------------------------------------------------------------------------


@pytest.fixture
def token(tmp_path: Path, settings: Any) -> Iterator[Callable[[str], str]]:
    """Create a SoftHSM token. Return a function that creates a key in this token.

    The function returns the PKCS #11 URI of the key.
    """
    folder = tmp_path / "tokens"
    folder.mkdir()
    configuration = tmp_path / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder}\nlog.level = ERROR\n")
    previous = os.environ.get("SOFTHSM2_CONF")
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
    if previous is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = previous


TOKEN_SCRIPT = """
import sys
from datetime import UTC, datetime
import django
django.setup()
from django.core.management import call_command
from certificates.services import ocsp_responses, revocation_lists
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
    print(ocsp_responses.renew_responders(service.ca, now=now), "responder")
"""


@requires_tools("softhsm2-util", "pkcs11-tool")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("kind", "expected"),
    [("rsa:3072", rsa.RSAPublicKey), ("EC:secp384r1", ec.EllipticCurvePublicKey)],
)
@pytest.mark.usefixtures("certificates_root")
def test_a_key_in_a_token_signs_certificates_lists_and_responders(
    token: Callable[[str], str],
    device: Device,
    tmp_path: Path,
    settings: Any,
    kind: str,
    expected: type,
) -> None:
    """The operations run in a new process, because a process loads a PKCS #11 library once."""
    settings.CERTIFICATES_ROOT = str(tmp_path / "in-token")
    uri = token(kind)

    process = subprocess.run(
        [sys.executable, "-c", TOKEN_SCRIPT, uri],
        env={
            **subprocess_environment(),
            "PKCS11_MODULE": softhsm_library(),
            "PKCS11_PIN": "87654321",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert "2 lists" in process.stdout, process.stderr
    assert "1 responder" in process.stdout
    root = Path(settings.CERTIFICATES_ROOT)
    assert not (root / "ca-key.pem").exists()
    assert (root / "ca-key.uri").read_text().strip() == uri
    authority = CertificateAuthority.objects.get().certificate()
    assert isinstance(authority.public_key(), expected)
    signed = DeviceCertificate.objects.get().signed_certificate()
    signed.verify_directly_issued_by(authority)


def test_a_missing_token_makes_the_ca_unavailable(
    service: CertificateManagementService, settings: Any, tmp_path: Path
) -> None:
    settings.PKCS11_MODULE = "/no/such/library.so"

    with pytest.raises(AuthorityUnavailable, match="token"):
        authority_creation.load_key_holder(key=None, address="pkcs11:token=none;object=ca")
    with pytest.raises(AuthorityUnavailable, match="pkcs11:"):
        authority_creation.load_key_holder(key=None, address="file:/etc/passwd")


def test_a_ca_below_a_root_is_imported_with_its_chain(
    tmp_path: Path, device: Device, settings: Any, now: datetime
) -> None:
    source = DeviceCertificatesService(tmp_path / "elsewhere")
    source.initialize_ca(now=now, key_type="ec", with_root=True)
    settings.CERTIFICATES_ROOT = str(tmp_path / "here")
    target = CertificateManagementService()
    target.ca.import_ca(
        key=source.store.ca_key.read_bytes(),
        chain=source.store.ca_certificate.read_bytes(),
        now=now,
    )

    row = target.issue_certificate(device=device, csr_pem=request_for(ec_key()), now=now)

    levels = CertificateAuthority.objects.values_list("level", "status")
    assert sorted(levels) == [("issuing", "signing"), ("root", "trusted")]
    assert row.authority_key_id == target.ca.issuer().key_identifier.hex()
    # The key of the root was not imported, so only the two lists of the CA are built.
    assert revocation_lists.rebuild_due(target.ca, now=now) == 2
