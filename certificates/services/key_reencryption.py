"""Re-encryption of stored private keys with the current key-encryption key."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from django.db import transaction

from certificates.pki.errors import PkiError
from certificates.services import key_encryption
from certificates.services.file_store import SECRET, CertificateStore, read_secret, write
from devices.registry.errors import DeviceNotFound
from devices.registry.queries import lock_device


@dataclass(frozen=True, slots=True)
class Reencryption:
    """The result for one key that was not encrypted with the current key-encryption key.

    Attributes:
        error: why the key could not be re-encrypted; None on success.
    """

    path: Path
    error: str | None = None


def reencrypt_keys(store: CertificateStore) -> Iterator[Reencryption]:
    """Re-encrypt stored keys that are not encrypted with the current key-encryption key.

    A device's key is rewritten while its device row is locked, so that no issuance can
    replace it meanwhile. A key that cannot be decrypted does not stop the others. The next
    run completes an interrupted run.
    """
    for files in store.all_authorities():
        if files.key.exists():
            yield from _results(files.key, lambda path: _reencrypt(path, authority=True))
    if store.private.is_dir():
        for path in sorted(store.private.glob("*-key.pem")):
            yield from _results(path, _reencrypt_device_key)


def _results(path: Path, reencrypt: Callable[[Path], bool]) -> Iterator[Reencryption]:
    try:
        if reencrypt(path):
            yield Reencryption(path)
    except (PkiError, OSError) as error:
        yield Reencryption(path, str(error))


def _reencrypt_device_key(path: Path) -> bool:
    try:
        device_id = UUID(path.name.removesuffix("-key.pem"))
        with transaction.atomic():
            lock_device(device_id, allow_retired=True)
            return _reencrypt(path, authority=False)
    except (ValueError, DeviceNotFound) as error:
        if isinstance(error, PkiError):
            raise
        return False  # not a device's key: `check_integrity` reports it


def _reencrypt(path: Path, *, authority: bool) -> bool:
    """Re-encrypt a key if necessary. Return True if the file was rewritten."""
    pem = read_secret(path)
    if pem is None or key_encryption.is_current(pem, authority=authority):
        return False
    key = key_encryption.decrypt_key(pem, made_here=True)
    write(path, key_encryption.encrypt_key(key, authority=authority), mode=SECRET)
    return True
