"""How the files of a device's certificate differ from its record."""

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
    is_ours_but_open,
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


CLOSED: Kind = "key_file_closed"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which records and files disagree, and whether it was mended."""

    kind: Kind
    subject: str
    sentence: str
    mended: bool = False


def file_differences(
    row: DeviceCertificate, store: CertificateStore
) -> Iterator[Difference]:
    """How the files of a certificate in use differ from its record."""
    subject = str(row.device_id)
    path = store.certificate_of(row.device_id)
    found = read(path)
    if found is None:
        sentence = f"The file {path.name} is missing."
        yield Difference("certificate_file_missing", subject, sentence)
    elif found != row.pem.encode():
        sentence = f"The file {path.name} differs from its record."
        yield Difference("certificate_file_differs", subject, sentence)
    if row.keeps_key_here:
        yield from _key_differences(row, store.key_of(row.device_id))


def _key_differences(row: DeviceCertificate, path: Path) -> Iterator[Difference]:
    subject = str(row.device_id)
    if is_ours_but_open(path):
        sentence = f"The key {path.name} has not mode 0600."
        yield Difference("key_file_readable_by_others", subject, sentence)
    elif is_closed(path):
        sentence = (
            f"The key {path.name} cannot be opened: none of the configured "
            "passphrases is its own. Only the operator can mend that."
        )
        yield Difference(CLOSED, subject, sentence)
    elif key_digest(path) != row.public_key_digest:
        lost = not path.exists()
        kind: Kind = "key_file_missing" if lost else "key_file_mismatched"
        word = "is missing" if lost else "is not the certificate's"
        sentence = f"The key {path.name} {word}; a renewal makes a new pair."
        yield Difference(kind, subject, sentence)


def key_digest(path: Path) -> str | None:
    """The digest of a key file's public half; None when there is no readable key."""
    try:
        content = read_secret(path)
        if content is None:
            return None
        key = key_encryption.open_key(content, made_here=True)
    except (PkiError, InsecureFile):
        return None
    return keys.public_digest(key.public_key())


def is_closed(path: Path) -> bool:
    """Whether a key is encrypted under something that is not configured here."""
    try:
        content = read_secret(path)
        if content is None or key_encryption.ENCRYPTED not in content:
            return False
        key_encryption.open_key(content, made_here=True)
    except PkiError:
        return True
    except InsecureFile:
        return False
    return False
