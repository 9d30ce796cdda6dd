"""Verify what the server has signed: commands, updates and the endorsement of keys.

Everything is a JSON Web Signature in compact form (JWS, RFC 7515).
"""

import json
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

ALGORITHMS = ("EdDSA", "ES256")  # of commands, orders and packages, the preferred one first
END = "-----END CERTIFICATE-----"


class SignatureInvalid(Exception):
    """The text is not signed by one of the keys, or is no JWS."""


class UnknownKey(SignatureInvalid):
    """The device does not have the key that has signed the text."""


def verified_claims(signed: str, keys: Iterable[Mapping[str, str]]) -> dict[str, Any]:
    """Return the claims of a JWS.

    Args:
        keys: public keys (JWK, RFC 7517) with `kid` and `alg`.

    Raises:
        UnknownKey: no key has the `kid` of the JWS.
        SignatureInvalid: the signature is wrong. The algorithm is that of the key, whatever the
            JWS says (RFC 8725 §3.1).
    """
    try:
        header, payload, signature = signed.split(".")
        kid = json.loads(_decode(header))["kid"]
        key = next((item for item in keys if item["kid"] == kid), None)
        if key is None:
            raise UnknownKey(kid)
        text, raw = f"{header}.{payload}".encode(), _decode(signature)
        if json.loads(_decode(header))["alg"] != key["alg"]:
            raise SignatureInvalid("algorithm")
        if key["alg"] == "EdDSA":
            Ed25519PublicKey.from_public_bytes(_decode(key["x"])).verify(raw, text)
        elif key["alg"] == "ES256":
            _verify_ecdsa(_p256_key(key), text, raw, hashes.SHA256())
        else:
            raise SignatureInvalid("algorithm")
        claims = json.loads(_decode(payload))
    except (InvalidSignature, ValueError, KeyError, TypeError) as error:
        raise SignatureInvalid from error
    if not isinstance(claims, dict):
        raise SignatureInvalid
    return claims


def endorsed_until(
    endorsement: str | None, keys: list[Any], *, chain: str, device_id: str
) -> float:
    """Return the end of the endorsement of keys by a CA, in seconds since 1970.

    Args:
        keys: the public keys as the server has sent them.
        chain: the CA chain of the device's certificate, in PEM.

    Raises:
        SignatureInvalid: no CA of the chain has endorsed these keys for this device.
    """
    try:
        header, payload, signature = (endorsement or "").split(".")
        der = b64decode(json.loads(_decode(header))["x5c"][0])
        signer = x509.load_der_x509_certificate(der)
        if signer not in _certificates(chain):
            raise SignatureInvalid("The signer is not in the chain of the certificate.")
        _verify_with(signer, f"{header}.{payload}".encode(), _decode(signature))
        claims = json.loads(_decode(payload))
        if claims["aud"] != device_id or claims["keys"] != keys:
            raise SignatureInvalid("The endorsement is for another device or other keys.")
        return float(claims["exp"])
    except (InvalidSignature, ValueError, KeyError, IndexError, TypeError) as error:
        raise SignatureInvalid from error


def _certificates(chain: str) -> list[x509.Certificate]:
    parts = (part + END for part in chain.split(END) if part.strip())
    return [x509.load_pem_x509_certificate(part.strip().encode()) for part in parts]


def _verify_with(signer: x509.Certificate, text: bytes, signature: bytes) -> None:
    """Verify a signature (RS256, ES256 or ES384) with the key of a certificate."""
    key = signer.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePublicKey):
        digest = hashes.SHA256() if key.curve.key_size == 256 else hashes.SHA384()
        _verify_ecdsa(key, text, signature, digest)
    else:
        raise SignatureInvalid("The key of the CA is of another kind.")


def _verify_ecdsa(
    key: ec.EllipticCurvePublicKey, text: bytes, raw: bytes, digest: hashes.HashAlgorithm
) -> None:
    """Verify a signature that is r and s concatenated (RFC 7518 §3.4)."""
    size = (key.curve.key_size + 7) // 8
    if len(raw) != 2 * size:
        raise InvalidSignature
    r, s = int.from_bytes(raw[:size], "big"), int.from_bytes(raw[size:], "big")
    key.verify(encode_dss_signature(r, s), text, ec.ECDSA(digest))


def _p256_key(jwk: Mapping[str, str]) -> ec.EllipticCurvePublicKey:
    x, y = (int.from_bytes(_decode(jwk[name]), "big") for name in ("x", "y"))
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
