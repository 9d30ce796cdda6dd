"""Encryption of stored private keys with a key-encryption key, if one is configured.

`KEY_ENCRYPTION_KEY` is a high-entropy passphrase for PKCS #8 (RFC 5958). It comes from
the environment or a mounted secret and is stored neither beside the keys nor in their
backup. `KEY_ENCRYPTION_KEY_FALLBACKS` contains earlier passphrases. They are used to
decrypt keys that were encrypted earlier.
"""

from django.conf import settings

from certificates.pki import keys
from certificates.pki.errors import PkiError
from certificates.pki.keys import DevicePrivateKey

ENCRYPTED = b"ENCRYPTED"


def encrypt_key(key: DevicePrivateKey, *, authority: bool = False) -> bytes:
    """Return a private key in PEM for storage, encrypted if a passphrase is configured.

    Args:
        authority: True for a CA's key. A separate passphrase may be configured for CA keys.
    """
    return keys.to_pem(key, _current_passphrase(authority=authority))


def decrypt_key(pem: bytes, *, made_here: bool = False) -> DevicePrivateKey:
    """Read a stored private key, encrypted or not.

    Args:
        made_here: whether to skip the consistency checks; see `keys.from_pem`.

    Raises:
        PkiError: the key is unreadable, or no configured passphrase decrypts it.
    """
    if ENCRYPTED not in pem:
        return keys.from_pem(pem, made_here=made_here)
    for passphrase in _passphrases():
        try:
            return keys.from_pem(pem, passphrase, made_here=made_here)
        except PkiError:
            continue
    raise PkiError("the key is encrypted and no configured passphrase decrypts it")


def is_current(pem: bytes, *, authority: bool = False) -> bool:
    """Return True if the stored key is encrypted with the current key-encryption key."""
    passphrase = _current_passphrase(authority=authority)
    if not passphrase or ENCRYPTED not in pem:
        return not passphrase and ENCRYPTED not in pem
    try:
        keys.from_pem(pem, passphrase, made_here=True)
    except PkiError:
        return False
    return True


def _current_passphrase(*, authority: bool) -> str:
    ca_passphrase = settings.CA_KEY_PASSPHRASE if authority else ""
    return ca_passphrase or settings.KEY_ENCRYPTION_KEY


def _passphrases() -> list[str]:
    configured = (
        settings.CA_KEY_PASSPHRASE,
        settings.KEY_ENCRYPTION_KEY,
        *settings.KEY_ENCRYPTION_KEY_FALLBACKS,
    )
    return [passphrase for passphrase in configured if passphrase]
