"""The key of a device is made on the device, and stays there."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from certificates.tests.external_tools import requires_tools, run_tool, softhsm_library
from provisioning_agent.keys import FileKey, KeyUnavailable, Pkcs11Key, csr_pem


def test_a_key_file_is_created_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "device.key"

    first = FileKey(path).private_key().public_key().public_numbers()

    assert FileKey(path).private_key().public_key().public_numbers() == first
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_damaged_key_file_is_named_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "device.key"
    path.write_text("x")

    with pytest.raises(KeyUnavailable, match=str(path)):
        FileKey(path).private_key()
    assert path.read_text() == "x"


def test_the_csr_is_signed_with_the_key(tmp_path: Path) -> None:
    key = FileKey(tmp_path / "device.key")

    csr = x509.load_pem_x509_csr(csr_pem(key, common_name="AX3").encode())

    public = csr.public_key()
    assert csr.is_signature_valid
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public.public_numbers() == key.private_key().public_key().public_numbers()


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The library of a PKCS #11 token with the label `device` and the PIN 1234.

    A process that has loaded the library keeps its configuration.
    """
    folder = tmp_path_factory.mktemp("tokens")
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder}\n")
    command = "softhsm2-util --init-token --free --label device --pin 1234 --so-pin 1234"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(configuration))
        run_tool(*command.split())
        yield softhsm_library()


def test_a_replaced_key_is_another_one(tmp_path: Path) -> None:
    key = FileKey(tmp_path / "device.key")
    first = key.private_key().public_key().public_numbers()

    key.replace()

    assert key.private_key().public_key().public_numbers() != first


@requires_tools("softhsm2-util")
def test_a_wrong_pin_is_an_error_of_the_token(token: str) -> None:
    key = Pkcs11Key(module=token, token="device", label="device", pin="9999")

    with pytest.raises(KeyUnavailable, match="PinIncorrect"):
        key.private_key()


@requires_tools("softhsm2-util")
def test_a_key_in_a_token_is_created_once_and_signs_the_csr(token: str) -> None:
    key = Pkcs11Key(module=token, token="device", label="device", pin="1234")

    requests = [x509.load_pem_x509_csr(csr_pem(key, common_name="x").encode()) for _ in range(2)]

    assert all(csr.is_signature_valid for csr in requests)
    first, second = (csr.public_key() for csr in requests)
    assert first == second
    key.replace()
    replaced = x509.load_pem_x509_csr(csr_pem(key, common_name="x").encode())
    assert replaced.is_signature_valid
    assert replaced.public_key() != first
