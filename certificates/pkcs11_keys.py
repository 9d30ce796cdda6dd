"""A CA key that stays in a PKCS #11 token; to the rest it is a private key like any.

The token is named by an RFC 7512 address such as `pkcs11:token=provisioning;object=ca`;
`PKCS11_MODULE` is the library that speaks to it and `PKCS11_PIN` opens it. Nothing else
of the key ever gets here: it signs, and says what its public half is.
"""

import threading
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


class TokenKey:
    """What both kinds of key in a token share: a session, and the public half."""

    def __init__(self, private: Any, public: Any) -> None:
        self._private, self._public = private, public
        self._alone = threading.Lock()  # a session signs one thing at a time

    def public_key(self) -> Any:
        return self._public

    @property
    def key_size(self) -> int:
        size: int = self._public.key_size
        return size

    def _signed(self, data: Any, mechanism: Any) -> bytes:
        try:
            with self._alone:
                signature: bytes = self._private.sign(bytes(data), mechanism=mechanism)
        except pkcs11.exceptions.PKCS11Error as error:
            raise AuthorityUnavailable(
                f"The token does not sign: {type(error).__name__}."
            ) from error
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
    wanted = _parts(address)
    try:
        library = pkcs11.lib(settings.PKCS11_MODULE)
        token = library.get_token(token_label=wanted["token"])
        session = token.open(user_pin=settings.PKCS11_PIN or None)
        private = session.get_key(pkcs11.ObjectClass.PRIVATE_KEY, **_named(wanted))
        public = session.get_key(pkcs11.ObjectClass.PUBLIC_KEY, **_named(wanted))
        return _key(private, public)
    except (pkcs11.exceptions.PKCS11Error, RuntimeError, KeyError) as error:
        reason = str(error) or type(error).__name__
        raise AuthorityUnavailable(
            f"The token's key is not usable: {reason}."
        ) from error


def _key(private: Any, public: Any) -> IssuerPrivateKey:
    if private.key_type == pkcs11.KeyType.RSA:
        return TokenRsaKey(private, load_der_public_key(encode_rsa_public_key(public)))
    return TokenEcKey(private, load_der_public_key(encode_ec_public_key(public)))


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
