"""Private keys that lie here, closed anew under the present key-encryption key."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from django.db import transaction

from certificates.pki.errors import PkiError
from certificates.services import key_encryption
from certificates.services.file_store import (
    SECRET,
    CertificateStore,
    read_secret,
    write,
)
from devices.registry.errors import NoSuchDevice
from devices.registry.queries import hold


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a key that was not closed as it would be now."""

    path: Path
    refusal: str | None = None


def closed_anew(store: CertificateStore) -> Iterator[Outcome]:
    """Rewrite each key that is not closed as it would be now.

    A device's key is rewritten under its device's lock, so that none slips past an
    issuance. One that cannot be opened stops no other. Killed in between, the next run
    does the rest.
    """
    for files in store.all_authorities():
        if files.key.exists():
            yield from _outcome(files.key, lambda path: _rewritten(path, True))
    if store.private.is_dir():
        for path in sorted(store.private.glob("*-key.pem")):
            yield from _outcome(path, _rewritten_under_lock)


def _outcome(path: Path, rewrite: Callable[[Path], bool]) -> Iterator[Outcome]:
    try:
        if rewrite(path):
            yield Outcome(path)
    except (PkiError, OSError) as error:
        yield Outcome(path, str(error))


def _rewritten_under_lock(path: Path) -> bool:
    try:
        device_id = UUID(path.name.removesuffix("-key.pem"))
        with transaction.atomic():
            hold(device_id, even_retired=True)
            return _rewritten(path, False)
    except (ValueError, NoSuchDevice) as error:
        if isinstance(error, PkiError):
            raise
        return False  # nobody's: `check_integrity` says so


def _rewritten(path: Path, authority: bool) -> bool:
    pem = read_secret(path)
    if pem is None or key_encryption.is_current(pem, authority=authority):
        return False
    key = key_encryption.open_key(pem, made_here=True)
    closing = key_encryption.close_authority if authority else key_encryption.close
    write(path, closing(key), mode=SECRET)
    return True
