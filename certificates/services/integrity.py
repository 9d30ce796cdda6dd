"""Records against files: say exactly what differs, and mend it."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from uuid import UUID

from cryptography import x509
from django.db import transaction
from django.db.models import Q

from certificates.errors import AuthorityUnavailable
from certificates.models import CertificateAuthority, DeviceCertificate
from certificates.services import authorities, authority_files, issuance
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.device_certificates import Signed
from certificates.services.file_comparison import (
    CLOSED,
    Difference,
    Kind,
    file_differences,
    key_digest,
)
from certificates.services.file_store import (
    PUBLIC,
    SECRET,
    CertificateStore,
    read,
    write,
)
from certificates.services.issuance import ABANDONED_AFTER
from core.errors import DomainError
from devices.registry.errors import NoSuchDevice
from devices.registry.queries import hold


class IntegrityCheck:
    """Walks over records and files; with `fix` it mends what it finds.

    The record is the truth about what was issued. A key that is lost cannot be
    mended, only replaced: its certificate is renewed with a new key. Issuances go on
    meanwhile, so before anything is mended the device is held and looked at again.
    """

    def __init__(
        self,
        service: CertificateManagementService,
        *,
        clock: Callable[[], datetime],
        fix: bool,
    ) -> None:
        self.service = service
        self.store: CertificateStore = service.ca.store
        self.clock = clock  # a walk over a fleet takes long: each step asks anew
        self.fix = fix

    def run(self) -> Iterator[Difference]:
        yield from self.authorities()
        yield from self.interrupted()
        yield from self.active()
        yield from self.unexpected_keys()
        yield from self.left_behind()

    def authorities(self) -> Iterator[Difference]:
        """Whether each CA that signs, or is to, can; only the operator can mend that."""
        for row in CertificateAuthority.objects.trusted().issuing():
            try:
                authority_files.read_anew(
                    authority_files.find(self.store, row.key_identifier)
                )
            except AuthorityUnavailable as error:
                yield Difference("authority_unusable", row.key_identifier, str(error))

    def interrupted(self) -> Iterator[Difference]:
        """Finish a reservation whose certificate was signed; bury any other."""
        stuck = DeviceCertificate.objects.stuck(self.clock() - ABANDONED_AFTER)
        for row in stuck.iterator(chunk_size=200):
            signed = signed_for(row, self.store)
            if self.fix and not (signed and self._finished(row, signed)):
                issuance.bury(row, store=self.store)
            deed = "was signed but not finished" if signed else "was never signed"
            yield Difference(
                "issuance_interrupted",
                row.serial_number,
                f"Certificate {row.serial_number} of {row.device_id} {deed}.",
                self.fix,
            )

    def active(self) -> Iterator[Difference]:
        for row in DeviceCertificate.objects.active().iterator(chunk_size=500):
            if not self._is_right(row):
                yield from self._mended(row)

    def unexpected_keys(self) -> Iterator[Difference]:
        """Private keys whose certificate is no longer in use, or never was."""
        for path in _files(self.store.private, "-key.pem"):
            device_id = path.name.removesuffix("-key.pem")
            if not _server_keyed(device_id) and self._removed(path, device_id):
                yield Difference(
                    "key_file_unexpected",
                    device_id,
                    f"{path.name} belongs to no certificate in use.",
                    self.fix,
                )

    def left_behind(self) -> Iterator[Difference]:
        """Files of issuances that are over, and half-written ones."""
        pending = DeviceCertificate.objects.pending()
        for path in _files(self.store.staged, ".pem"):
            serial_number = path.name.rsplit("-", 1)[0]
            if not pending.filter(serial_number=serial_number).exists():
                yield self._left(path, serial_number)
        for folder in (self.store.staged, self.store.private, self.store.public):
            for path in _half_written(folder, self.clock() - ABANDONED_AFTER):
                yield self._left(path, path.name)

    def _left(self, path: Path, subject: str) -> Difference:
        if self.fix:
            path.unlink(missing_ok=True)
        sentence = f"{path.name} was left by an issuance that is over."
        return Difference("staged_file_left", subject, sentence, self.fix)

    def _finished(self, row: DeviceCertificate, signed: Signed) -> bool:
        with suppress(DomainError):
            issuance.activate(
                row, signed, store=self.store, now=self.clock(), unless_newer=True
            )
            return True
        return False

    def _removed(self, path: Path, device_id: str) -> bool:
        """Remove a key under its device's lock, if it is still unexpected then."""
        try:
            with transaction.atomic():
                hold(UUID(device_id), even_retired=True)
                if _server_keyed(device_id):
                    return False
                if self.fix:
                    path.unlink(missing_ok=True)
                return True
        except (NoSuchDevice, ValueError):
            if self.fix:
                path.unlink(missing_ok=True)
            return True

    def _is_right(self, row: DeviceCertificate) -> bool:
        return next(file_differences(row, self.store), None) is None

    def _mended(self, row: DeviceCertificate) -> Iterator[Difference]:
        with transaction.atomic():
            hold(row.device_id, even_retired=True)
            current = DeviceCertificate.objects.active().filter(pk=row.pk).first()
            found = [] if current is None else list(file_differences(row, self.store))
            for difference in found:
                if self.fix:
                    self._mend_file(row, difference.kind)
        lost = {"key_file_missing", "key_file_mismatched"}
        for difference in found:
            if self.fix and difference.kind in lost:
                with suppress(DomainError):  # renewed or ended meanwhile: right again
                    self.service.renew_certificate(row, now=self.clock())
            yield replace(difference, mended=self.fix and difference.kind != CLOSED)

    def _mend_file(self, row: DeviceCertificate, kind: Kind) -> None:
        if kind in ("certificate_file_missing", "certificate_file_differs"):
            self.store.prepare()
            path = self.store.certificate_of(row.device_id)
            write(path, row.pem.encode(), mode=PUBLIC)
        elif kind == "key_file_readable_by_others":
            self.store.key_of(row.device_id).chmod(SECRET)


def signed_for(row: DeviceCertificate, store: CertificateStore) -> Signed | None:
    """What was signed for a reservation, staged or in its place, if it is whole."""
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
        if has_key and authorities.is_ours(certificate):
            return Signed(certificate, key_made_here=made_here)
    return None


def _server_keyed(device_id: str) -> bool:
    try:
        parsed = UUID(device_id)
    except ValueError:
        return False
    unfinished = Q(status="active") | Q(status="pending")
    return DeviceCertificate.objects.filter(
        unfinished,
        device_id=parsed,
        key_source="server",
        key_delivered_at__isnull=True,
    ).exists()


def _certificate(pem: bytes | None) -> x509.Certificate | None:
    if pem is None:
        return None
    try:
        return x509.load_pem_x509_certificate(pem)
    except (ValueError, x509.InvalidVersion):
        return None


def _files(folder: Path, ending: str) -> Iterator[Path]:
    if folder.is_dir():
        yield from (
            path for path in sorted(folder.iterdir()) if path.name.endswith(ending)
        )


def _half_written(folder: Path, before: datetime) -> Iterator[Path]:
    """What a process that was killed while writing left."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") and path.stat().st_mtime < before.timestamp():
                yield path
