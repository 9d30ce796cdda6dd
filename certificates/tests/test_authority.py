"""Tests that the CA files are created once or imported, and never overwritten."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings
from django.core.management import CommandError, call_command

from certificates.errors import AuthorityExists, AuthorityUnavailable, InvalidAuthority
from certificates.pki import keys
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.tests.keys import ec_key

CREATE_CA = """
import sys
from datetime import UTC, datetime
from pathlib import Path
import django
django.setup()
from certificates.services.device_certificates import DeviceCertificatesService
ca = DeviceCertificatesService(Path(sys.argv[1]))
print(ca.initialize_ca(now=datetime.now(UTC), key_type="ec").certificate.serial_number)
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_use_creates_the_ca(tmp_path: Path, now: datetime) -> None:
    ca = DeviceCertificatesService(tmp_path / "ca")
    assert not ca.exists()

    issuer = ca.initialize_ca(now=now, key_type="ec")

    assert mode(ca.store.ca_key) == 0o600
    assert ca.initialize_ca(now=now).certificate == issuer.certificate


def test_processes_starting_at_once_create_one_ca(tmp_path: Path) -> None:
    def start(_: int) -> str:
        return subprocess.run(
            [sys.executable, "-c", CREATE_CA, str(tmp_path / "ca")],
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "provisioning.settings"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    with ThreadPoolExecutor(8) as pool:
        serial_numbers = set(pool.map(start, range(8)))

    assert len(serial_numbers) == 1


def test_a_key_left_without_a_certificate_by_a_crash_is_reused(
    tmp_path: Path, now: datetime
) -> None:
    ca = DeviceCertificatesService(tmp_path / "ca")
    ca.initialize_ca(now=now, key_type="ec")
    key = ca.store.ca_key.read_bytes()
    ca.store.ca_certificate.unlink()

    ca.initialize_ca(now=now)

    assert ca.store.ca_key.read_bytes() == key


def test_an_existing_ca_is_imported(tmp_path: Path, now: datetime) -> None:
    elsewhere = DeviceCertificatesService(tmp_path / "elsewhere")
    issuer = elsewhere.initialize_ca(now=now, key_type="ec")
    here = DeviceCertificatesService(tmp_path / "here")

    here.import_ca(
        key=elsewhere.store.ca_key.read_bytes(),
        chain=elsewhere.store.ca_certificate.read_bytes(),
        now=now,
    )

    assert here.issuer().certificate == issuer.certificate
    assert mode(here.store.ca_key) == 0o600


def test_an_import_never_overwrites(tmp_path: Path, now: datetime) -> None:
    ca = DeviceCertificatesService(tmp_path / "ca")
    ca.initialize_ca(now=now, key_type="ec")
    key, chain = ca.store.ca_key.read_bytes(), ca.store.ca_certificate.read_bytes()

    with pytest.raises(AuthorityExists):
        ca.import_ca(key=key, chain=chain, now=now)


def test_an_import_of_a_chain_for_another_key_is_rejected(tmp_path: Path, now: datetime) -> None:
    other = DeviceCertificatesService(tmp_path / "other")
    chain = other.initialize_ca(now=now, key_type="ec").certificate
    ca = DeviceCertificatesService(tmp_path / "ca")

    with pytest.raises(InvalidAuthority, match="does not match the key"):
        ca.import_ca(key=keys.to_pem(ec_key()), chain=chain.public_bytes(Encoding.PEM), now=now)
    assert not ca.exists()


def test_the_ca_key_is_encrypted_with_the_configured_passphrase(
    tmp_path: Path, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "CA_KEY_PASSPHRASE", "correct horse")
    ca = DeviceCertificatesService(tmp_path / "ca")

    ca.initialize_ca(now=now, key_type="ec")

    assert b"ENCRYPTED" in ca.store.ca_key.read_bytes()
    monkeypatch.setattr(settings, "CA_KEY_PASSPHRASE", "wrong")
    ca.store.ca_certificate.touch()  # discards the cached key, as in a new process
    with pytest.raises(AuthorityUnavailable):
        ca.issuer()


@pytest.mark.django_db
def test_init_ca_creates_the_ca_once(tmp_path: Path, capsys: Any) -> None:
    settings.CERTIFICATES_ROOT = str(tmp_path / "new")

    call_command("init_ca", key_type="ec")
    assert "BTManagement Device CA" in capsys.readouterr().out
    with pytest.raises(CommandError, match="not overwritten"):
        call_command("init_ca")


def test_init_ca_requires_key_and_chain_together(tmp_path: Path) -> None:
    settings.CERTIFICATES_ROOT = str(tmp_path / "new")

    with pytest.raises(CommandError) as error:
        call_command("init_ca", key=tmp_path / "key.pem")
    assert error.value.returncode == 2


@pytest.mark.django_db
def test_the_ca_certificate_is_public(client: Any, now: datetime) -> None:
    response = client.get("/certificates/ca.pem", HTTP_ACCEPT="application/x-pem-file")

    assert response.status_code == 200
    assert response.content.startswith(b"-----BEGIN CERTIFICATE-----")
    assert b"PRIVATE" not in response.content


def test_the_validity_of_the_ca_starts_from_the_given_time(tmp_path: Path) -> None:
    moment = datetime(2040, 1, 1, tzinfo=UTC)

    issuer = DeviceCertificatesService(tmp_path / "ca").initialize_ca(now=moment, key_type="ec")

    assert issuer.certificate.not_valid_before_utc.year == 2039
