"""Comparison of certificate records with the files on disk, and repair of differences."""

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
    UNDECRYPTABLE,
    Difference,
    Kind,
    file_differences,
    key_digest,
)
from certificates.services.file_store import PUBLIC, SECRET, CertificateStore, read, write
from certificates.services.issuance import ABANDONED_AFTER
from core.errors import DomainError
from devices.registry.errors import DeviceNotFound
from devices.registry.queries import lock_device


class IntegrityCheck:
    """Compare all records with their files; with `fix`, repair the differences.

    The database record is authoritative. A lost key cannot be restored, so its certificate
    is renewed with a new key. Issuances continue during the check, so the device is
    locked and checked again before anything is repaired.
    """

    def __init__(
        self, service: CertificateManagementService, *, clock: Callable[[], datetime], fix: bool
    ) -> None:
        self.service = service
        self.store: CertificateStore = service.ca.store
        self.clock = clock  # a function, because checking a fleet takes long
        self.fix = fix

    def run(self) -> Iterator[Difference]:
        yield from self.authorities()
        yield from self.interrupted()
        yield from self.active()
        yield from self.unexpected_keys()
        yield from self.leftover_files()

    def authorities(self) -> Iterator[Difference]:
        """Check that each trusted issuing CA can sign. Only the operator can repair a CA."""
        for row in CertificateAuthority.objects.trusted().issuing():
            try:
                authority_files.load_uncached(authority_files.find(self.store, row.key_identifier))
            except AuthorityUnavailable as error:
                yield Difference("authority_unusable", row.key_identifier, str(error))

    def interrupted(self) -> Iterator[Difference]:
        """Finish interrupted issuances of signed certificates; mark the others as failed."""
        stuck = DeviceCertificate.objects.stuck(self.clock() - ABANDONED_AFTER)
        for row in stuck.iterator(chunk_size=200):
            signed = find_signed(row, self.store)
            if self.fix and not (signed and self._finish(row, signed)):
                issuance.bury(row, store=self.store)
            state = "was signed but not activated" if signed else "was never signed"
            yield Difference(
                "issuance_interrupted",
                row.serial_number,
                f"Certificate {row.serial_number} of device {row.device_id} {state}.",
                self.fix,
            )

    def active(self) -> Iterator[Difference]:
        """Check the files of all certificates in use."""
        for row in DeviceCertificate.objects.active().iterator(chunk_size=500):
            if next(file_differences(row, self.store), None) is not None:
                yield from self._repair(row)

    def unexpected_keys(self) -> Iterator[Difference]:
        """Find private keys that do not belong to a certificate in use."""
        for path in _files(self.store.private, "-key.pem"):
            device_id = path.name.removesuffix("-key.pem")
            if not _expects_key(device_id) and self._remove_key(path, device_id):
                yield Difference(
                    "key_file_unexpected",
                    device_id,
                    f"The key {path.name} does not belong to a certificate in use.",
                    self.fix,
                )

    def leftover_files(self) -> Iterator[Difference]:
        """Find files of finished or failed issuances, and partially written files."""
        pending = DeviceCertificate.objects.pending()
        for path in _files(self.store.staged, ".pem"):
            serial_number = path.name.rsplit("-", 1)[0]
            if not pending.filter(serial_number=serial_number).exists():
                yield self._leftover(path, serial_number)
        for folder in (self.store.staged, self.store.private, self.store.public):
            for path in _partial_files(folder, self.clock() - ABANDONED_AFTER):
                yield self._leftover(path, path.name)

    def _leftover(self, path: Path, subject: str) -> Difference:
        if self.fix:
            path.unlink(missing_ok=True)
        sentence = f"The file {path.name} is left over from an earlier issuance."
        return Difference("staged_file_left", subject, sentence, self.fix)

    def _finish(self, row: DeviceCertificate, signed: Signed) -> bool:
        """Activate a signed certificate. Return False if it can no longer be activated."""
        with suppress(DomainError):
            issuance.activate(row, signed, store=self.store, now=self.clock(), unless_newer=True)
            return True
        return False

    def _remove_key(self, path: Path, device_id: str) -> bool:
        """Lock the device and check a key again. If `fix` is set, remove an unexpected key.

        Returns:
            True if the key is still unexpected.
        """
        try:
            with transaction.atomic():
                lock_device(UUID(device_id), allow_retired=True)
                if _expects_key(device_id):
                    return False
                if self.fix:
                    path.unlink(missing_ok=True)
                return True
        except (DeviceNotFound, ValueError):
            if self.fix:
                path.unlink(missing_ok=True)
            return True

    def _repair(self, row: DeviceCertificate) -> Iterator[Difference]:
        """Lock the device and compare again. If `fix` is set, repair the differences."""
        with transaction.atomic():
            lock_device(row.device_id, allow_retired=True)
            is_active = DeviceCertificate.objects.active().filter(pk=row.pk).exists()
            differences = list(file_differences(row, self.store)) if is_active else []
            for difference in differences:
                if self.fix:
                    self._repair_file(row, difference.kind)
        key_lost = {"key_file_missing", "key_file_mismatched"}
        for difference in differences:
            if self.fix and difference.kind in key_lost:
                # The renewal is refused if the certificate was renewed or has ended
                # meanwhile. Then nothing is left to repair.
                with suppress(DomainError):
                    self.service.renew_certificate(row, now=self.clock())
            repaired = self.fix and difference.kind != UNDECRYPTABLE
            yield replace(difference, mended=repaired)

    def _repair_file(self, row: DeviceCertificate, kind: Kind) -> None:
        if kind in ("certificate_file_missing", "certificate_file_differs"):
            self.store.prepare()
            path = self.store.certificate_of(row.device_id)
            write(path, row.pem.encode(), mode=PUBLIC)
        elif kind == "key_file_readable_by_others":
            self.store.key_of(row.device_id).chmod(SECRET)


def find_signed(row: DeviceCertificate, store: CertificateStore) -> Signed | None:
    """Return the signed certificate of a reservation from the staged or the installed file.

    Returns:
        None if there is no certificate, if its key is missing, or if it was not signed by
        a trusted CA of this installation.
    """
    from_server = row.key_source == DeviceCertificate.KeySource.SERVER
    staged = store.staged_certificate(row.serial_number)
    installed = store.certificate_of(row.device_id)
    for path in (staged, installed):
        certificate = _parse_certificate(read(path))
        if certificate is None or f"{certificate.serial_number:x}" != row.serial_number:
            continue
        digests = {
            key_digest(store.staged_key(row.serial_number)),
            key_digest(store.key_of(row.device_id)),
        }
        has_key = not from_server or row.public_key_digest in digests
        if has_key and authorities.is_issued_by_trusted_ca(certificate):
            return Signed(certificate, key_made_here=from_server)
    return None


def _expects_key(device_id: str) -> bool:
    """Return True if the server should have a private key of this device."""
    try:
        parsed = UUID(device_id)
    except ValueError:
        return False
    return DeviceCertificate.objects.filter(
        Q(status="active") | Q(status="pending"),
        device_id=parsed,
        key_source="server",
        key_delivered_at__isnull=True,
    ).exists()


def _parse_certificate(pem: bytes | None) -> x509.Certificate | None:
    if pem is None:
        return None
    try:
        return x509.load_pem_x509_certificate(pem)
    except (ValueError, x509.InvalidVersion):
        return None


def _files(folder: Path, ending: str) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in sorted(folder.iterdir()) if path.name.endswith(ending))


def _partial_files(folder: Path, before: datetime) -> Iterator[Path]:
    """Yield temporary files of processes that were killed while writing."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") and path.stat().st_mtime < before.timestamp():
                yield path
