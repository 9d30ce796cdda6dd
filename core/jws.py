"""Create JSON Web Signatures in compact form (RFC 7515). Pure functions."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def sign(header: dict[str, Any], claims: dict[str, Any], private: Ed25519PrivateKey) -> str:
    """Return a JWS that is signed with an Ed25519 key (RFC 8037 §3.1)."""
    text = signing_input({"alg": "EdDSA", **header}, claims)
    return f"{text}.{base64url_encode(private.sign(text.encode()))}"


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
