"""Private keys at rest: encrypted under a key-encryption key, if the operator gives one.

`KEY_ENCRYPTION_KEY` is a passphrase of high entropy for PKCS #8 (RFC 5958), from the
environment or a mounted secret: it lies neither beside the keys nor in their back-up.
What an earlier one closed, `KEY_ENCRYPTION_KEY_FALLBACKS` still opens.
"""

from django.conf import settings

from certificates.pki import keys
from certificates.pki.errors import PkiError
from certificates.pki.keys import DevicePrivateKey

ENCRYPTED = b"ENCRYPTED"


def close(key: DevicePrivateKey) -> bytes:
    """A device's private key in PEM, as it is kept."""
    return keys.to_pem(key, _present(authority=False))


def close_authority(key: DevicePrivateKey) -> bytes:
    """A CA's private key in PEM."""
    return keys.to_pem(key, _present(authority=True))


def open_key(pem: bytes, *, made_here: bool = False) -> DevicePrivateKey:
    """Read what was closed, or was never encrypted.

    Raises:
        PkiError: it is unreadable, or none of the known secrets opens it.
    """
    if ENCRYPTED not in pem:
        return keys.from_pem(pem, made_here=made_here)
    for passphrase in _passphrases():
        try:
            return keys.from_pem(pem, passphrase, made_here=made_here)
        except PkiError:
            continue
    raise PkiError(
        "the key is encrypted, and none of the configured passphrases opens it"
    )


def is_current(pem: bytes, *, authority: bool = False) -> bool:
    """Whether a kept key is closed as it would be now."""
    present = _present(authority=authority)
    if not present or ENCRYPTED not in pem:
        return not present and ENCRYPTED not in pem
    try:
        keys.from_pem(pem, present, made_here=True)
    except PkiError:
        return False
    return True


def _present(*, authority: bool) -> str:
    """What a key is closed with now; a CA's may have a passphrase of its own."""
    own: str = settings.CA_KEY_PASSPHRASE if authority else ""
    return own or settings.KEY_ENCRYPTION_KEY


def _passphrases() -> list[str]:
    known = (
        settings.CA_KEY_PASSPHRASE,
        settings.KEY_ENCRYPTION_KEY,
        *settings.KEY_ENCRYPTION_KEY_FALLBACKS,
    )
    return [passphrase for passphrase in known if passphrase]
