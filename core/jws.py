"""Create JSON Web Signatures in compact form (RFC 7515). Pure functions."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey
ECDSA_ALGORITHMS = {256: ("ES256", hashes.SHA256()), 384: ("ES384", hashes.SHA384())}


def sign(header: dict[str, Any], claims: dict[str, Any], private: PrivateKey) -> str:
    """Return a JWS that is signed with an Ed25519 key (RFC 8037 §3.1) or an EC key."""
    if isinstance(private, Ed25519PrivateKey):
        text = signing_input({"alg": "EdDSA", **header}, claims)
        return f"{text}.{base64url_encode(private.sign(text.encode()))}"
    return sign_ecdsa(header, claims, private)


def sign_ecdsa(
    header: dict[str, Any], claims: dict[str, Any], private: ec.EllipticCurvePrivateKey
) -> str:
    """Return a JWS by ES256 or ES384: the signature is R and S concatenated (RFC 7518 §3.4)."""
    algorithm, digest = ECDSA_ALGORITHMS[private.curve.key_size]
    text = signing_input({"alg": algorithm, **header}, claims)
    size = private.curve.key_size // 8
    pair = decode_dss_signature(private.sign(text.encode(), ec.ECDSA(digest)))
    signature = b"".join(number.to_bytes(size, "big") for number in pair)
    return f"{text}.{base64url_encode(signature)}"


def signing_input(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Return the text that is signed: header and payload in base64url (RFC 7515 §5.1)."""
    return f"{encoded_json(header)}.{encoded_json(claims)}"


def encoded_json(value: dict[str, Any]) -> str:
    return base64url_encode(json.dumps(value, separators=(",", ":")).encode())


def base64url_encode(data: bytes) -> str:
    """Encode in base64url without padding (RFC 7515 §2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def base64url_decode(text: str) -> bytes:
    """Decode base64url without padding."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
