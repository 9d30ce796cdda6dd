"""Secrets that have to be read again, encrypted at rest.

The key comes from `SECRET_KEY`, one for each purpose (HKDF, RFC 5869), so what was
encrypted for one cannot be passed off as another. After a change of `SECRET_KEY`, the
ones in `SECRET_KEY_FALLBACKS` still open what they closed.
"""

import base64
import hmac
from collections.abc import Callable
from hashlib import sha256

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from core.extension_points import ExtensionPoint

# Each encrypts what its package stores with the current key; returns how many of what.
reencryption: ExtensionPoint[Callable[[], dict[str, int]]] = ExtensionPoint(
    "secrets to re-encrypt"
)


class NotReadable(Exception):
    """It was encrypted with a key that is not known any more, or was tampered with."""


def encrypt(secret: str, *, purpose: str) -> str:
    return _boxes(purpose).encrypt(secret.encode()).decode()


def decrypt(encrypted: str, *, purpose: str) -> str:
    """
    Raises:
        NotReadable: no known key opens it.
    """
    try:
        return _boxes(purpose).decrypt(encrypted.encode()).decode()
    except InvalidToken as error:
        raise NotReadable from error


def keyed_digests(text: str, *, purpose: str) -> list[str]:
    """HMAC-SHA-256 in hex, the present key's first: for what is too short to be hashed plainly."""
    return [
        hmac.new(_key(secret, purpose), text.encode(), sha256).hexdigest()
        for secret in _secrets()
    ]


def reencrypt_all() -> dict[str, int]:
    """Encrypt whatever any room keeps with the present key; how many of what.

    Raises:
        NotReadable: one was encrypted with a key that is not among the fallbacks.
    """
    counts: dict[str, int] = {}
    for reencrypt in reencryption:
        counts |= reencrypt()
    return counts


def _boxes(purpose: str) -> MultiFernet:
    return MultiFernet(
        Fernet(base64.urlsafe_b64encode(_key(secret, purpose))) for secret in _secrets()
    )


def _key(secret: str, purpose: str) -> bytes:
    info = f"provisioning:{purpose}".encode()
    return HKDF(SHA256(), 32, salt=None, info=info).derive(secret.encode())


def _secrets() -> list[str]:
    return [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
