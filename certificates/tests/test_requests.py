"""Which requests are signed: the parser's judgement of what a stranger sends."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certificates.pki import csr, serials
from certificates.pki.errors import BadRequest
from certificates.tests.keys import ec_key, request_for


def test_a_request_proves_the_key_that_signed_it() -> None:
    key = ec_key()

    assert csr.proven_key(request_for(key)) == key.public_key()


def test_p384_is_a_choice() -> None:
    key = ec.generate_private_key(ec.SECP384R1())

    assert csr.proven_key(request_for(key)) == key.public_key()


def test_a_short_rsa_key_is_refused_with_its_size() -> None:
    key = rsa.generate_private_key(65537, 1024)

    with pytest.raises(BadRequest, match="1024"):
        csr.proven_key(request_for(key))


def test_a_small_exponent_is_refused() -> None:
    key = rsa.generate_private_key(3, 2048)

    with pytest.raises(BadRequest, match="exponent"):
        csr.proven_key(request_for(key))


def test_an_unusual_curve_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256K1())

    with pytest.raises(BadRequest, match="P-256"):
        csr.proven_key(request_for(key))


def test_a_request_that_its_key_did_not_sign_is_refused() -> None:
    lines = request_for(ec_key()).splitlines()
    body = "".join(lines[1:-1])
    swapped = "A" if body[-6] != "A" else "B"
    forged = "\n".join([lines[0], body[:-6] + swapped + body[-5:], lines[-1], ""])

    with pytest.raises(BadRequest):
        csr.proven_key(forged)


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "-----BEGIN CERTIFICATE REQUEST-----", "x" * 20_000, "\u0130"],
)
def test_what_is_no_request_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        csr.proven_key(text)


@pytest.mark.parametrize(
    ("written", "normal"),
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
def test_a_serial_number_has_one_written_form(written: str, normal: str | None) -> None:
    assert serials.normalise(written) == normal


def test_serial_numbers_are_unpredictable_and_fit_twenty_octets() -> None:
    numbers = {serials.random_serial_number() for _ in range(10_000)}

    assert len(numbers) == 10_000
    assert all(0 < number < 2**159 for number in numbers)
