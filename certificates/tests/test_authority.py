"""The CA's own files: made once, imported, never overwritten."""

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

MAKE_ONE = """
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


def test_the_first_use_makes_the_authority(tmp_path: Path, now: datetime) -> None:
    ca = DeviceCertificatesService(tmp_path / "ca")
    assert not ca.exists()

    made = ca.initialize_ca(now=now, key_type="ec")

    assert mode(ca.store.ca_key) == 0o600
    assert ca.initialize_ca(now=now).certificate == made.certificate


def test_twenty_processes_starting_at_once_make_one_authority(tmp_path: Path) -> None:
    def start(_: int) -> str:
        return subprocess.run(
            [sys.executable, "-c", MAKE_ONE, str(tmp_path / "ca")],
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "provisioning.settings"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    with ThreadPoolExecutor(20) as pool:
        serial_numbers = set(pool.map(start, range(20)))

    assert len(serial_numbers) == 1


def test_a_key_that_a_crash_left_alone_is_used_and_not_overwritten(
    tmp_path: Path, now: datetime
) -> None:
    ca = DeviceCertificatesService(tmp_path / "ca")
    ca.initialize_ca(now=now, key_type="ec")
    key = ca.store.ca_key.read_bytes()
    ca.store.ca_certificate.unlink()

    ca.initialize_ca(now=now)

    assert ca.store.ca_key.read_bytes() == key


def test_an_existing_authority_is_imported(tmp_path: Path, now: datetime) -> None:
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


def test_a_key_and_a_chain_that_do_not_belong_together_are_refused(
    tmp_path: Path, now: datetime
) -> None:
    other = DeviceCertificatesService(tmp_path / "other")
    chain = other.initialize_ca(now=now, key_type="ec").certificate
    ca = DeviceCertificatesService(tmp_path / "ca")

    with pytest.raises(InvalidAuthority, match="not the key's"):
        ca.import_ca(
            key=keys.to_pem(ec_key()), chain=chain.public_bytes(Encoding.PEM), now=now
        )
    assert not ca.exists()


def test_the_key_can_carry_a_passphrase(
    tmp_path: Path, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "CA_KEY_PASSPHRASE", "correct horse")
    ca = DeviceCertificatesService(tmp_path / "ca")

    ca.initialize_ca(now=now, key_type="ec")

    assert b"ENCRYPTED" in ca.store.ca_key.read_bytes()
    monkeypatch.setattr(settings, "CA_KEY_PASSPHRASE", "wrong")
    ca.store.ca_certificate.touch()  # as another process, which has not loaded it
    with pytest.raises(AuthorityUnavailable):
        ca.issuer()


@pytest.mark.django_db
def test_the_command_makes_it_once(tmp_path: Path, capsys: Any) -> None:
    settings.CERTIFICATES_ROOT = str(tmp_path / "new")

    call_command("init_ca", key_type="ec")
    assert "BTManagement Device CA" in capsys.readouterr().out
    with pytest.raises(CommandError, match="not overwritten"):
        call_command("init_ca")


def test_the_command_wants_key_and_chain_together(tmp_path: Path) -> None:
    settings.CERTIFICATES_ROOT = str(tmp_path / "new")

    with pytest.raises(CommandError) as refusal:
        call_command("init_ca", key=tmp_path / "key.pem")
    assert refusal.value.returncode == 2


@pytest.mark.django_db
def test_the_authoritys_certificate_is_public(client: Any, now: datetime) -> None:
    answer = client.get("/certificates/ca.pem", HTTP_ACCEPT="application/x-pem-file")

    assert answer.status_code == 200
    assert answer.content.startswith(b"-----BEGIN CERTIFICATE-----")
    assert b"PRIVATE" not in answer.content


def test_no_clock_is_read_to_make_it(tmp_path: Path) -> None:
    moment = datetime(2040, 1, 1, tzinfo=UTC)

    issuer = DeviceCertificatesService(tmp_path / "ca").initialize_ca(
        now=moment, key_type="ec"
    )

    assert issuer.certificate.not_valid_before_utc.year == 2039
