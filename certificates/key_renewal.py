"""Private keys that lie here, closed anew under the present key-encryption key."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from django.db import transaction

from certificates import key_encryption
from certificates.errors import AuthorityUnavailable
from certificates.pki.errors import PkiError
from certificates.store import SECRET, CertificateStore, read_secret, write
from devices.errors import NoSuchDevice
from devices.hot_path import hold


def closed_anew(store: CertificateStore) -> Iterator[Path]:
    """Rewrite each key that is not closed as it would be now; what was rewritten.

    A device's key is rewritten under its device's lock, so that none slips past an
    issuance. Killed in between, the next run does the rest.

    Raises:
        AuthorityUnavailable: none of the known secrets opens a key.
    """
    for files in store.all_authorities():
        if files.key.exists() and _rewritten(files.key, authority=True):
            yield files.key
    if store.private.is_dir():
        for path in sorted(store.private.glob("*-key.pem")):
            if _rewritten_under_lock(path):
                yield path


def _rewritten_under_lock(path: Path) -> bool:
    try:
        device_id = UUID(path.name.removesuffix("-key.pem"))
        with transaction.atomic():
            hold(device_id, even_retired=True)
            return _rewritten(path, authority=False)
    except (ValueError, NoSuchDevice):
        return False  # nobody's: `check_integrity` says so


def _rewritten(path: Path, *, authority: bool) -> bool:
    try:
        pem = read_secret(path)
        if pem is None or key_encryption.is_current(pem, authority=authority):
            return False
        key = key_encryption.open_key(pem, made_here=True)
    except (PkiError, OSError) as error:
        raise AuthorityUnavailable(f"{path.name}: {error}.") from error
    closing = key_encryption.close_authority if authority else key_encryption.close
    write(path, closing(key), mode=SECRET)
    return True
