"""Only what the server has signed for this device is accepted."""

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from provisioning_agent.signatures import SignatureInvalid, UnknownKey, verified_claims

ED25519 = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
P256 = ec.derive_private_key(7, ec.SECP256R1())


def encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def encoded_json(value: Any) -> str:
    return encode(json.dumps(value).encode())


def public_keys() -> list[dict[str, str]]:
    raw = ED25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    numbers = P256.public_key().public_numbers()
    x, y = (encode(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
    return [
        {"kty": "OKP", "crv": "Ed25519", "x": encode(raw), "kid": "ed", "alg": "EdDSA"},
        {"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "ec", "alg": "ES256"},
    ]


def signed(kid: str, algorithm: str, claims: Any) -> str:
    text = f"{encoded_json({'alg': algorithm, 'kid': kid})}.{encoded_json(claims)}"
    if kid == "ed":
        return f"{text}.{encode(ED25519.sign(text.encode()))}"
    r, s = decode_dss_signature(P256.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{text}.{encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


@pytest.mark.parametrize(("kid", "algorithm"), [("ed", "EdDSA"), ("ec", "ES256")])
def test_claims_signed_with_a_known_key_are_returned(kid: str, algorithm: str) -> None:
    assert verified_claims(signed(kid, algorithm, {"a": 1}), public_keys()) == {"a": 1}


def test_the_algorithm_must_be_that_of_the_key() -> None:
    with pytest.raises(SignatureInvalid):
        verified_claims(signed("ed", "ES256", {}), public_keys())
    with pytest.raises(SignatureInvalid):
        verified_claims(signed("ec", "none", {}), public_keys())


def test_an_unknown_key_is_named_as_such() -> None:
    with pytest.raises(UnknownKey):
        verified_claims(signed("ed", "EdDSA", {}), public_keys()[1:])


@pytest.mark.parametrize("kid", ["ed", "ec"])
def test_changed_claims_are_refused(kid: str) -> None:
    header, _, signature = signed(kid, "EdDSA" if kid == "ed" else "ES256", {"a": 1}).split(".")

    with pytest.raises(SignatureInvalid):
        verified_claims(f"{header}.{encoded_json({'a': 2})}.{signature}", public_keys())


@pytest.mark.parametrize("text", ["", "a.b.c", "..", "é.é.é", f"{encoded_json([])}.e30.AAAA"])
def test_text_that_is_no_signature_is_refused(text: str) -> None:
    with pytest.raises(SignatureInvalid):
        verified_claims(text, public_keys())


def test_claims_must_be_an_object() -> None:
    with pytest.raises(SignatureInvalid):
        verified_claims(signed("ed", "EdDSA", [1]), public_keys())
