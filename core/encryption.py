"""Encrypt secrets at rest that have to be read again.

The key of each purpose is derived from `SECRET_KEY` (HKDF, RFC 5869), so a ciphertext of
one purpose cannot be used for another. After a change of `SECRET_KEY`, ciphertexts of
the keys in `SECRET_KEY_FALLBACKS` can still be decrypted.
"""

import base64
import hmac
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from core.extension_points import ExtensionPoint

# Each function re-encrypts the secrets of its package with the current key and returns
# the number of re-encrypted secrets by kind.
reencryption: ExtensionPoint[Callable[[], dict[str, int]]] = ExtensionPoint("secrets to re-encrypt")


class DecryptionError(Exception):
    """The text was encrypted with an unknown key, or it was modified."""


def encrypt(secret: str, *, purpose: str) -> str:
    """Encrypt a text with the current key. Only `decrypt` with the same purpose can read it."""
    return _cipher(purpose).encrypt(secret.encode()).decode()


def decrypt(encrypted: str, *, purpose: str) -> str:
    """Decrypt a text that `encrypt` returned for the same purpose.

    Raises:
        DecryptionError: none of the keys decrypts it.
    """
    try:
        return _cipher(purpose).decrypt(encrypted.encode()).decode()
    except InvalidToken as error:
        raise DecryptionError from error


def keyed_digests(text: str, *, purpose: str) -> list[str]:
    """Return the HMAC-SHA-256 (hex) of a text for each key, starting with the current key.

    Use it for texts that are too short for a plain hash, because they could be guessed.
    """
    return [
        hmac.new(_key(secret, purpose), text.encode(), sha256).hexdigest() for secret in _secrets()
    ]


def derived_keys(purpose: str) -> list[bytes]:
    """Return a key of 32 bytes for each secret key, starting with the current one."""
    return [_cached_key(secret, purpose) for secret in _secrets()]


def reencrypt_all() -> dict[str, int]:
    """Re-encrypt all stored secrets with the current key.

    Returns:
        The number of re-encrypted secrets by kind.

    Raises:
        DecryptionError: neither the current key nor a fallback key decrypts a secret.
    """
    counts: dict[str, int] = {}
    for reencrypt in reencryption:
        counts |= reencrypt()
    return counts


def _cipher(purpose: str) -> MultiFernet:
    return MultiFernet(
        Fernet(base64.urlsafe_b64encode(_key(secret, purpose))) for secret in _secrets()
    )


def _key(secret: str, purpose: str) -> bytes:
    info = f"provisioning:{purpose}".encode()
    return HKDF(SHA256(), 32, salt=None, info=info).derive(secret.encode())


_cached_key = lru_cache(maxsize=32)(_key)


def _secrets() -> list[str]:
    return [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
