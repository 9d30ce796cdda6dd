"""CA private keys in a PKCS #11 token, with the interface of ordinary private keys.

The key is addressed by an RFC 7512 URI such as `pkcs11:token=provisioning;object=ca`.
`PKCS11_MODULE` is the library for the token and `PKCS11_PIN` its user PIN. The private key
never leaves the token. The token signs, and only the public key can be read.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn
from urllib.parse import unquote

import pkcs11
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key
from django.conf import settings
from pkcs11.util.ec import encode_ec_public_key
from pkcs11.util.rsa import encode_rsa_public_key

from certificates.errors import AuthorityUnavailable
from certificates.pki.keys import IssuerPrivateKey

SCHEME = "pkcs11:"

_sessions: dict[tuple[int, str], Any] = {}  # by process id and token label
_session_lock = threading.RLock()  # a session can sign only one thing at a time


class TokenKey:
    """Base class of RSA and EC keys in a token, with the address and the public key."""

    def __init__(self, address: str, public_key: Any) -> None:
        self._address, self._public_key = address, public_key

    def public_key(self) -> Any:
        return self._public_key

    @property
    def key_size(self) -> int:
        size: int = self._public_key.key_size
        return size

    def _sign(self, data: Any, mechanism: Any) -> bytes:
        """Sign data. On failure retry once in a new session, as the token may have been removed."""
        with _session_lock:
            try:
                return self._sign_once(data, mechanism)
            except AuthorityUnavailable:
                _sessions.clear()
                return self._sign_once(data, mechanism)

    def _sign_once(self, data: Any, mechanism: Any) -> bytes:
        with _token_errors("The token cannot sign"):
            private_key, _ = _key_pair(self._address)
            signature: bytes = private_key.sign(bytes(data), mechanism=mechanism)
        return signature

    def private_numbers(self) -> NoReturn:
        raise TypeError("the key does not leave its token")

    def private_bytes(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("the key does not leave its token")

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        return self


class TokenRsaKey(TokenKey, rsa.RSAPrivateKey):
    """An RSA key. It signs with PKCS #1 v1.5 and SHA-256."""

    def sign(self, data: Any, padding: Any, algorithm: Any) -> bytes:
        _require_sha256(algorithm)
        return self._sign(data, pkcs11.Mechanism.SHA256_RSA_PKCS)

    def decrypt(self, ciphertext: Any, padding: Any) -> NoReturn:
        raise TypeError("this key signs only")


class TokenEcKey(TokenKey, ec.EllipticCurvePrivateKey):
    """An elliptic curve key. The token signs a digest and returns r and s concatenated."""

    @property
    def curve(self) -> ec.EllipticCurve:
        curve: ec.EllipticCurve = self._public_key.curve
        return curve

    def sign(self, data: Any, signature_algorithm: Any) -> bytes:
        _require_sha256(signature_algorithm.algorithm)
        digest = hashes.Hash(hashes.SHA256())
        digest.update(bytes(data))
        raw = self._sign(digest.finalize(), pkcs11.Mechanism.ECDSA)
        half = len(raw) // 2
        r, s = raw[:half], raw[half:]
        return encode_dss_signature(int.from_bytes(r), int.from_bytes(s))

    def exchange(self, algorithm: Any, peer_public_key: Any) -> NoReturn:
        raise TypeError("this key signs only")


def load(address: str) -> IssuerPrivateKey:
    """Return the private key at an RFC 7512 URI.

    Raises:
        AuthorityUnavailable: the token or the key is missing, or the PIN is wrong.
    """
    with _session_lock, _token_errors("The key in the token cannot be used"):
        private_key, public_key = _key_pair(address)
        if private_key.key_type == pkcs11.KeyType.RSA:
            der = encode_rsa_public_key(public_key)
            return TokenRsaKey(address, load_der_public_key(der))
        der = encode_ec_public_key(public_key)
        return TokenEcKey(address, load_der_public_key(der))


def _key_pair(address: str) -> tuple[Any, Any]:
    """Return the private and the public key object. They use this process's token session."""
    attributes = _uri_attributes(address)
    session = _session(attributes["token"])
    query = _key_query(attributes)
    return (
        session.get_key(pkcs11.ObjectClass.PRIVATE_KEY, **query),
        session.get_key(pkcs11.ObjectClass.PUBLIC_KEY, **query),
    )


def _session(label: str) -> Any:
    """Return this process's session with a token. The first call logs in."""
    key = (os.getpid(), label)
    if key not in _sessions:
        token = pkcs11.lib(settings.PKCS11_MODULE).get_token(token_label=label)
        try:
            _sessions[key] = token.open(user_pin=settings.PKCS11_PIN or None)
        except pkcs11.exceptions.UserAlreadyLoggedIn:
            _sessions[key] = token.open()
    return _sessions[key]


@contextmanager
def _token_errors(sentence: str) -> Iterator[None]:
    """Convert errors of the token to `AuthorityUnavailable`."""
    try:
        yield
    except (pkcs11.exceptions.PKCS11Error, RuntimeError, KeyError) as error:
        reason = str(error) or type(error).__name__
        raise AuthorityUnavailable(f"{sentence}: {reason}.") from error


def _uri_attributes(address: str) -> dict[str, str]:
    if not address.startswith(SCHEME):
        raise AuthorityUnavailable(
            "The address of a key in a token must start with pkcs11: (RFC 7512)."
        )
    pairs = (part.partition("=") for part in address.removeprefix(SCHEME).split(";"))
    return {name: unquote(value) for name, _, value in pairs}


def _key_query(attributes: dict[str, str]) -> dict[str, Any]:
    query: dict[str, Any] = {}
    if "object" in attributes:
        query["label"] = attributes["object"]
    if "id" in attributes:
        query["id"] = attributes["id"].encode("latin-1")
    return query


def _require_sha256(algorithm: Any) -> None:
    if not isinstance(algorithm, hashes.SHA256):
        raise TypeError("the CA signs with SHA-256 only")
