"""Records against files: say exactly what differs, and mend it."""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal
from uuid import UUID

from cryptography import x509
from django.db.models import Q

from certificates.device_certificates import DeviceCertificatesService, Signed
from certificates.management_service import CertificateManagementService
from certificates.models import DeviceCertificate
from certificates.pki import keys
from certificates.pki.errors import PkiError
from certificates.pki.issuing import signed_by
from certificates.store import PUBLIC, SECRET, CertificateStore, read, write

GRACE = timedelta(minutes=2)  # an issuance may take so long before it counts as left

Kind = Literal[
    "issuance_interrupted",
    "certificate_file_missing",
    "certificate_file_differs",
    "key_file_missing",
    "key_file_mismatched",
    "key_file_readable_by_others",
    "key_file_unexpected",
    "staged_file_left",
]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which records and files disagree, and whether it was mended."""

    kind: Kind
    subject: str
    sentence: str
    mended: bool = False


class IntegrityCheck:
    """Walks over records and files; with `fix` it mends what it finds.

    The record is the truth about what was issued. A key that is lost cannot be
    mended, only replaced: its certificate is renewed with a new key.
    """

    def __init__(
        self, service: CertificateManagementService, *, now: datetime, fix: bool
    ) -> None:
        self.service = service
        self.store: CertificateStore = service.ca.store
        self.now = now
        self.fix = fix

    def run(self) -> Iterator[Difference]:
        yield from self.interrupted()
        yield from self.active()
        yield from self.unexpected_keys()
        yield from self.left_behind()

    def interrupted(self) -> Iterator[Difference]:
        """Finish a reservation whose certificate was signed; bury any other."""
        stuck = DeviceCertificate.objects.stuck(self.now - GRACE).select_related(
            "device"
        )
        for row in stuck.iterator(chunk_size=200):
            signed = signed_for(row, self.service.ca)
            finishable = signed is not None and row.device.status != "retired"
            if self.fix:
                if signed is not None and finishable:
                    self.service.activate(row, signed, now=self.now)
                else:
                    self.service.bury(row)
            deed = "was signed but not finished" if finishable else "was never signed"
            yield Difference(
                "issuance_interrupted",
                row.serial_number,
                f"Certificate {row.serial_number} of {row.device_id} {deed}.",
                self.fix,
            )

    def active(self) -> Iterator[Difference]:
        for row in DeviceCertificate.objects.active().iterator(chunk_size=500):
            yield from self._certificate_file(row)
            yield from self._key_file(row)

    def unexpected_keys(self) -> Iterator[Difference]:
        """Private keys whose certificate is no longer in use, or never was."""
        for path in _files(self.store.private, "-key.pem"):
            device_id = path.name.removesuffix("-key.pem")
            if not _server_keyed(device_id):
                if self.fix:
                    path.unlink(missing_ok=True)
                yield Difference(
                    "key_file_unexpected",
                    device_id,
                    f"{path.name} belongs to no certificate in use.",
                    self.fix,
                )

    def left_behind(self) -> Iterator[Difference]:
        for path in _files(self.store.staged, ".pem"):
            serial_number = path.name.rsplit("-", 1)[0]
            known = DeviceCertificate.objects.pending().filter(
                serial_number=serial_number
            )
            if not known.exists():
                if self.fix:
                    path.unlink(missing_ok=True)
                yield Difference(
                    "staged_file_left",
                    serial_number,
                    f"{path.name} was left by an issuance that is over.",
                    self.fix,
                )

    def _certificate_file(self, row: DeviceCertificate) -> Iterator[Difference]:
        path = self.store.certificate_of(row.device_id)
        found = read(path)
        if found == row.pem.encode():
            return
        if self.fix:
            self.store.prepare()
            write(path, row.pem.encode(), mode=PUBLIC)
        kind: Kind = (
            "certificate_file_missing" if found is None else "certificate_file_differs"
        )
        word = "is missing" if found is None else "differs from its record"
        yield Difference(
            kind, str(row.device_id), f"The file {path.name} {word}.", self.fix
        )

    def _key_file(self, row: DeviceCertificate) -> Iterator[Difference]:
        if row.key_source != DeviceCertificate.KeySource.SERVER:
            return
        path = self.store.key_of(row.device_id)
        digest = key_digest(path)
        if digest != row.public_key_digest:
            if self.fix:
                self.service.renew_certificate(row, now=self.now)
            lost = not path.exists()
            kind: Kind = "key_file_missing" if lost else "key_file_mismatched"
            word = "is missing" if lost else "is not the certificate's"
            yield Difference(
                kind,
                str(row.device_id),
                f"The key {path.name} {word}; a renewal makes a new pair.",
                self.fix,
            )
        elif stat.S_IMODE(path.stat().st_mode) != SECRET:
            if self.fix:
                path.chmod(SECRET)
            yield Difference(
                "key_file_readable_by_others",
                str(row.device_id),
                f"The key {path.name} has not mode 0600.",
                self.fix,
            )


def signed_for(row: DeviceCertificate, ca: DeviceCertificatesService) -> Signed | None:
    """What was signed for a reservation, staged or in its place, if it is whole."""
    store = ca.store
    made_here = row.key_source == DeviceCertificate.KeySource.SERVER
    staged, placed = (
        store.staged_certificate(row.serial_number),
        store.certificate_of(row.device_id),
    )
    for path in (staged, placed):
        certificate = _certificate(read(path))
        if certificate is None or f"{certificate.serial_number:x}" != row.serial_number:
            continue
        digests = {
            key_digest(store.staged_key(row.serial_number)),
            key_digest(store.key_of(row.device_id)),
        }
        has_key = not made_here or row.public_key_digest in digests
        if has_key and ca.exists() and signed_by(certificate, ca.issuer()):
            return Signed(certificate, key_made_here=made_here)
    return None


def key_digest(path: Path) -> str | None:
    """The digest of a key file's public half; None when there is no readable key."""
    content = read(path)
    if content is None:
        return None
    try:
        return keys.public_digest(keys.from_pem(content).public_key())
    except PkiError:
        return None


def destroy_revoked_key(*, device_id: UUID, serial_number: str) -> None:
    """Remove the server-made key of a revoked certificate, unless it has been replaced."""
    revoked = DeviceCertificate.objects.of_device(device_id).filter(
        serial_number=serial_number, status=DeviceCertificate.Status.REVOKED
    )
    path = DeviceCertificatesService().store.key_of(device_id)
    for row in revoked:
        if key_digest(path) == row.public_key_digest:
            path.unlink(missing_ok=True)


def _server_keyed(device_id: str) -> bool:
    try:
        parsed = UUID(device_id)
    except ValueError:
        return False
    unfinished = Q(status="active") | Q(status="pending")
    return DeviceCertificate.objects.filter(
        unfinished, device_id=parsed, key_source="server"
    ).exists()


def _certificate(pem: bytes | None) -> x509.Certificate | None:
    if pem is None:
        return None
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        return None


def _files(folder: Path, ending: str) -> Iterator[Path]:
    if folder.is_dir():
        yield from (
            path for path in sorted(folder.iterdir()) if path.name.endswith(ending)
        )
