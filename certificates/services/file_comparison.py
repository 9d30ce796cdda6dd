"""Comparison of the files of a device's certificate with its database record."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from certificates.models import DeviceCertificate
from certificates.pki import keys
from certificates.pki.errors import PkiError
from certificates.services import key_encryption
from certificates.services.file_store import (
    CertificateStore,
    InsecureFile,
    has_only_wrong_mode,
    read,
    read_secret,
)

Kind = Literal[
    "issuance_interrupted",
    "certificate_file_missing",
    "certificate_file_differs",
    "key_file_missing",
    "key_file_mismatched",
    "key_file_readable_by_others",
    "key_file_unexpected",
    "key_file_closed",
    "authority_unusable",
    "staged_file_left",
]

UNDECRYPTABLE: Kind = "key_file_closed"


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between records and files.

    Attributes:
        subject: a device id, a serial number, a key identifier or a file name.
        mended: whether the difference was repaired.
    """

    kind: Kind
    subject: str
    sentence: str
    mended: bool = False


def file_differences(row: DeviceCertificate, store: CertificateStore) -> Iterator[Difference]:
    """Yield each difference between the files of a certificate in use and its record."""
    subject = str(row.device_id)
    path = store.certificate_of(row.device_id)
    content = read(path)
    if content is None:
        sentence = f"The certificate file {path.name} is missing."
        yield Difference("certificate_file_missing", subject, sentence)
    elif content != row.pem.encode():
        sentence = f"The certificate file {path.name} differs from its record."
        yield Difference("certificate_file_differs", subject, sentence)
    if row.key_stored_on_server:
        yield from _key_differences(row, store.key_of(row.device_id))


def _key_differences(row: DeviceCertificate, path: Path) -> Iterator[Difference]:
    subject = str(row.device_id)
    if has_only_wrong_mode(path):
        sentence = f"The mode of the key {path.name} is not 0600."
        yield Difference("key_file_readable_by_others", subject, sentence)
    elif _is_undecryptable(path):
        sentence = (
            f"The key {path.name} cannot be decrypted with any configured passphrase. "
            "Add its passphrase to KEY_ENCRYPTION_KEY_FALLBACKS."
        )
        yield Difference(UNDECRYPTABLE, subject, sentence)
    elif key_digest(path) != row.public_key_digest:
        is_missing = not path.exists()
        kind: Kind = "key_file_missing" if is_missing else "key_file_mismatched"
        problem = "is missing" if is_missing else "does not match the certificate"
        sentence = f"The key {path.name} {problem}. A renewal generates a new key."
        yield Difference(kind, subject, sentence)


def key_digest(path: Path) -> str | None:
    """Return the digest of a key file's public key; None if there is no readable key."""
    try:
        content = read_secret(path)
        if content is None:
            return None
        key = key_encryption.decrypt_key(content, made_here=True)
    except (PkiError, InsecureFile):
        return None
    return keys.public_digest(key.public_key())


def _is_undecryptable(path: Path) -> bool:
    """Return True if a key is encrypted and no configured passphrase decrypts it."""
    try:
        content = read_secret(path)
        if content is None or key_encryption.ENCRYPTED not in content:
            return False
        key_encryption.decrypt_key(content, made_here=True)
    except PkiError:
        return True
    except InsecureFile:
        return False
    return False
