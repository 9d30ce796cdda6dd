"""Tests of parsing certificate signing requests and serial numbers."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certificates.pki import csr, serials
from certificates.pki.errors import BadRequest
from certificates.tests.keys import ec_key, request_for


def test_a_csr_returns_its_verified_public_key() -> None:
    key = ec_key()

    assert csr.verified_public_key(request_for(key)) == key.public_key()


def test_a_p384_key_is_accepted() -> None:
    key = ec.generate_private_key(ec.SECP384R1())

    assert csr.verified_public_key(request_for(key)) == key.public_key()


def test_a_short_rsa_key_is_rejected_with_its_size() -> None:
    key = rsa.generate_private_key(65537, 1024)

    with pytest.raises(BadRequest, match="1024"):
        csr.verified_public_key(request_for(key))


def test_a_small_exponent_is_rejected() -> None:
    key = rsa.generate_private_key(3, 2048)

    with pytest.raises(BadRequest, match="exponent"):
        csr.verified_public_key(request_for(key))


def test_an_unsupported_curve_is_rejected() -> None:
    key = ec.generate_private_key(ec.SECP256K1())

    with pytest.raises(BadRequest, match="P-256"):
        csr.verified_public_key(request_for(key))


def test_a_csr_with_an_invalid_signature_is_rejected() -> None:
    lines = request_for(ec_key()).splitlines()
    body = "".join(lines[1:-1])
    swapped = "A" if body[-6] != "A" else "B"
    forged = "\n".join([lines[0], body[:-6] + swapped + body[-5:], lines[-1], ""])

    with pytest.raises(BadRequest):
        csr.verified_public_key(forged)


@pytest.mark.parametrize(
    "text", ["", "nonsense", "-----BEGIN CERTIFICATE REQUEST-----", "x" * 20_000, "\u0130"]
)
def test_an_unreadable_csr_is_rejected(text: str) -> None:
    with pytest.raises(BadRequest):
        csr.verified_public_key(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0A:FF", "aff"),
        ("  00ff ", "ff"),
        ("ff", "ff"),
        ("0", None),
        ("", None),
        ("xyz", None),
        ("f" * 41, None),
    ],
)
def test_serial_numbers_are_normalised(text: str, expected: str | None) -> None:
    assert serials.normalise(text) == expected


def test_serial_numbers_are_unique_and_fit_twenty_octets() -> None:
    numbers = {serials.random_serial_number() for _ in range(10_000)}

    assert len(numbers) == 10_000
    assert all(0 < number < 2**159 for number in numbers)
