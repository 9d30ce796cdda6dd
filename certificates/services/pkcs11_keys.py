"""A CA key that stays in a PKCS #11 token; to the rest it is a private key like any.

The token is named by an RFC 7512 address such as `pkcs11:token=provisioning;object=ca`;
`PKCS11_MODULE` is the library that speaks to it and `PKCS11_PIN` opens it. Nothing else
of the key ever gets here: it signs, and says what its public half is.
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

_sessions: dict[tuple[int, str], Any] = {}  # by process and token
_alone = threading.RLock()  # a session signs one thing at a time


class TokenKey:
    """What both kinds of key in a token share: its address, and the public half."""

    def __init__(self, address: str, public: Any) -> None:
        self._address, self._public = address, public

    def public_key(self) -> Any:
        return self._public

    @property
    def key_size(self) -> int:
        size: int = self._public.key_size
        return size

    def _signed(self, data: Any, mechanism: Any) -> bytes:
        """Sign; once more with a new session, should the token have been away."""
        with _alone:
            try:
                return self._sign(data, mechanism)
            except AuthorityUnavailable:
                _sessions.clear()
                return self._sign(data, mechanism)

    def _sign(self, data: Any, mechanism: Any) -> bytes:
        with _told("The token does not sign"):
            private, _ = _found(self._address)
            signature: bytes = private.sign(bytes(data), mechanism=mechanism)
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
    """RSA, which signs with PKCS #1 v1.5 and SHA-256."""

    def sign(self, data: Any, padding: Any, algorithm: Any) -> bytes:
        _expect(algorithm)
        return self._signed(data, pkcs11.Mechanism.SHA256_RSA_PKCS)

    def decrypt(self, ciphertext: Any, padding: Any) -> NoReturn:
        raise TypeError("this key signs only")


class TokenEcKey(TokenKey, ec.EllipticCurvePrivateKey):
    """An elliptic curve key; the token signs a digest and gives r and s side by side."""

    @property
    def curve(self) -> ec.EllipticCurve:
        curve: ec.EllipticCurve = self._public.curve
        return curve

    def sign(self, data: Any, signature_algorithm: Any) -> bytes:
        _expect(signature_algorithm.algorithm)
        digest = hashes.Hash(hashes.SHA256())
        digest.update(bytes(data))
        raw = self._signed(digest.finalize(), pkcs11.Mechanism.ECDSA)
        half = len(raw) // 2
        r, s = raw[:half], raw[half:]
        return encode_dss_signature(int.from_bytes(r), int.from_bytes(s))

    def exchange(self, algorithm: Any, peer_public_key: Any) -> NoReturn:
        raise TypeError("this key signs only")


def load(address: str) -> IssuerPrivateKey:
    """The private key at an address.

    Raises:
        AuthorityUnavailable: the token or the key is not there, or the PIN is wrong.
    """
    with _alone, _told("The token's key is not usable"):
        private, public = _found(address)
        if private.key_type == pkcs11.KeyType.RSA:
            half = load_der_public_key(encode_rsa_public_key(public))
            return TokenRsaKey(address, half)
        return TokenEcKey(address, load_der_public_key(encode_ec_public_key(public)))


def _found(address: str) -> tuple[Any, Any]:
    """Both halves of the key, in this process's session with the token."""
    wanted = _parts(address)
    session = _session(wanted["token"])
    return (
        session.get_key(pkcs11.ObjectClass.PRIVATE_KEY, **_named(wanted)),
        session.get_key(pkcs11.ObjectClass.PUBLIC_KEY, **_named(wanted)),
    )


def _session(label: str) -> Any:
    """One session for each token: a process signs in to a token once."""
    key = (os.getpid(), label)
    if key not in _sessions:
        token = pkcs11.lib(settings.PKCS11_MODULE).get_token(token_label=label)
        try:
            _sessions[key] = token.open(user_pin=settings.PKCS11_PIN or None)
        except pkcs11.exceptions.UserAlreadyLoggedIn:
            _sessions[key] = token.open()
    return _sessions[key]


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except (pkcs11.exceptions.PKCS11Error, RuntimeError, KeyError) as error:
        reason = str(error) or type(error).__name__
        raise AuthorityUnavailable(f"{what}: {reason}.") from error


def _parts(address: str) -> dict[str, str]:
    if not address.startswith(SCHEME):
        raise AuthorityUnavailable("A token's address begins with pkcs11: (RFC 7512).")
    pairs = (part.partition("=") for part in address.removeprefix(SCHEME).split(";"))
    return {name: unquote(value) for name, _, value in pairs}


def _named(wanted: dict[str, str]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    if "object" in wanted:
        named["label"] = wanted["object"]
    if "id" in wanted:
        named["id"] = wanted["id"].encode("latin-1")
    return named


def _expect(algorithm: Any) -> None:
    if not isinstance(algorithm, hashes.SHA256):
        raise TypeError("the authority signs with SHA-256")
