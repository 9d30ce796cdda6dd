"""Continuous audit of all certificates, in slices."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from django.conf import settings
from django.db import connection, transaction

from certificates.models import (
    CertificateAuthority,
    DeviceCertificate,
    Drift,
    Inspection,
    RevocationList,
)
from certificates.pki import keys
from certificates.pki.conformance import deviations
from certificates.pki.serials import to_text
from certificates.services.file_comparison import file_differences
from certificates.services.file_store import CertificateStore
from core.locks import try_transaction_lock

MIN_SIZE = 200  # certificates per run
SLICE = 1_000  # certificates in one transaction
RUNS_PER_HOUR = 60
LISTED_WITHIN = timedelta(minutes=10)  # a revocation must be on every list by then
MAX_SENTENCE = 400  # characters; `Drift.sentence`
PASSES_KEPT = 30

Problem = tuple[str, str]  # kind, sentence
Status = DeviceCertificate.Status


def inspect(
    *, store: CertificateStore, now: datetime, time_is_up: Callable[[], bool] = lambda: False
) -> int:
    """Audit the next certificates of the current pass. If a new pass is due, start it.

    Their number is chosen so that a pass takes `INSPECTION_HOURS`. Only one run is active at a
    time. A concurrent run does nothing.

    Args:
        time_is_up: asked before each slice. The next run continues.

    Returns:
        How many certificates were audited.
    """
    total = 0
    size = max(_estimated_count() // (settings.INSPECTION_HOURS * RUNS_PER_HOUR), MIN_SIZE)
    while total < size and not time_is_up():
        count = _inspect_slice(store, now, min(size - total, SLICE))
        if count == 0:
            break
        total += count
    return total


@transaction.atomic
def _inspect_slice(store: CertificateStore, now: datetime, size: int) -> int:
    inspection = _lock_pass(now)
    if inspection is None:
        return 0
    rows = _next_slice(inspection, size)
    references = _References(rows, store, now)
    problems_by_row = {row: list(_problems(row, references)) for row in rows}
    _save_findings(problems_by_row, now)
    inspection.inspected += len(rows)
    inspection.drifted += sum(map(bool, problems_by_row.values()))
    if rows:
        inspection.reached = rows[-1].pk
    else:
        inspection.ended_at = now
        _delete_old_passes(inspection)
    inspection.save()
    return len(rows)


def last_full_pass() -> Inspection | None:
    """Return the audit pass that ended last."""
    ended = Inspection.objects.filter(ended_at__isnull=False)
    return ended.order_by("-ended_at").first()


def _lock_pass(now: datetime) -> Inspection | None:
    """Return the current pass, locked. If there is none and a new pass is due, start it.

    A new pass starts at least half of `INSPECTION_HOURS` after the start of the last one.

    Returns:
        None if no pass is due, or another process is running one.
    """
    if not try_transaction_lock("inspection"):
        return None
    running = Inspection.objects.filter(ended_at__isnull=True).first()
    if running is not None:
        return running
    last = Inspection.objects.order_by("-started_at").first()
    min_interval = timedelta(hours=settings.INSPECTION_HOURS) / 2
    if last is not None and now - last.started_at < min_interval:
        return None
    return Inspection.objects.create(started_at=now)


def _next_slice(inspection: Inspection, size: int) -> list[DeviceCertificate]:
    """Return the next certificates in the order of their ids."""
    certificates = DeviceCertificate.objects.filter(
        status__in=(Status.ACTIVE, Status.SUPERSEDED, Status.REVOKED)
    )
    certificates = certificates.select_related("distribution_point").defer(
        "distribution_point__der"
    )
    if inspection.reached is not None:
        certificates = certificates.filter(pk__gt=inspection.reached)
    return list(certificates.order_by("pk")[:size])


def _estimated_count() -> int:
    """Return the planner's estimate of the number of certificates; COUNT is too slow."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass",
            [DeviceCertificate._meta.db_table],
        )
        row = cursor.fetchone()
    return max(0, int(row[0])) if row else 0


def _problems(row: DeviceCertificate, references: "_References") -> Iterator[Problem]:
    try:
        certificate = row.signed_certificate()
        digest = keys.public_digest(keys.require_acceptable_key(certificate.public_key()))
    except (ValueError, x509.InvalidVersion):
        yield "record_unreadable", "The certificate in the record cannot be read."
        return
    yield from _record_problems(row, certificate, digest)
    yield from _profile_problems(row, certificate, references.issuer_of(row))
    if row.status == Status.REVOKED:
        yield from references.missing_revocations(row)
    elif row.status == Status.ACTIVE and row.handover_until is None:
        yield from _file_problems(row, references.store)


def _file_problems(row: DeviceCertificate, store: CertificateStore) -> Iterator[Problem]:
    """Compare the files of a certificate with its record.

    If they differ, load the record again and repeat the comparison, because an issuance
    may have changed the record during the audit.
    """
    if next(file_differences(row, store), None) is None:
        return
    current = DeviceCertificate.objects.active().filter(pk=row.pk).first()
    if current is not None:
        for difference in file_differences(current, store):
            yield difference.kind, difference.sentence


def _record_problems(
    row: DeviceCertificate, certificate: x509.Certificate, key_digest: str
) -> Iterator[Problem]:
    fields = {
        "serial number": (row.serial_number, to_text(certificate.serial_number)),
        "fingerprint": (row.fingerprint, certificate.fingerprint(hashes.SHA256()).hex()),
        "start of validity": (row.not_before, certificate.not_valid_before_utc),
        "end of validity": (row.not_after, certificate.not_valid_after_utc),
        "public key": (row.public_key_digest, key_digest),
    }
    for name, (record_value, certificate_value) in fields.items():
        if record_value != certificate_value:
            sentence = f"The {name} in the record differs from the certificate."
            yield "record_differs", sentence


def _profile_problems(
    row: DeviceCertificate, certificate: x509.Certificate, issuer: x509.Certificate | None
) -> Iterator[Problem]:
    if issuer is None:
        yield "authority_unknown", "There is no record of the CA that signed the certificate."
        return
    point = row.distribution_point
    for deviation in deviations(
        certificate, issuer=issuer, device_id=row.device_id, crl=point.address if point else None
    ):
        sentence = f"The certificate differs from the profile: {deviation}."
        yield "profile_differs", sentence


def _save_findings(problems_by_row: dict[DeviceCertificate, list[Problem]], now: datetime) -> None:
    """Create or update findings. Delete earlier findings about problems that are gone."""
    for row, problems in problems_by_row.items():
        for kind, sentence in problems:
            Drift.objects.update_or_create(
                certificate=row,
                kind=kind,
                sentence=sentence[:MAX_SENTENCE],
                defaults={"seen_at": now},
                create_defaults={"seen_at": now, "found_at": now},
            )
    drifts = Drift.objects.filter(certificate__in=list(problems_by_row))
    drifts.exclude(seen_at=now).delete()


def _delete_old_passes(inspection: Inspection) -> None:
    others = Inspection.objects.exclude(pk=inspection.pk).order_by("-started_at")
    Inspection.objects.filter(pk__in=[row.pk for row in others[PASSES_KEPT:]]).delete()


class _References:
    """The issuers and revocation lists for the certificates of a slice, each loaded once."""

    def __init__(
        self, rows: list[DeviceCertificate], store: CertificateStore, now: datetime
    ) -> None:
        self.store, self.now = store, now
        key_identifiers = {row.authority_key_id for row in rows}
        self._issuers = {
            authority.key_identifier: authority.certificate()
            for authority in CertificateAuthority.objects.filter(key_identifier__in=key_identifiers)
        }
        revoked = [row for row in rows if row.status == Status.REVOKED]
        # Serial numbers by list: a shard's id, or a CA's key identifier.
        self._lists: dict[int | str, set[int]] = {}
        shard_ids = {
            row.distribution_point_id for row in revoked if row.distribution_point_id is not None
        }
        lists = RevocationList.objects.select_related("authority")
        for shard_id in shard_ids:
            self._lists[shard_id] = _serial_numbers(lists.get(pk=shard_id))
        for key_identifier in {row.authority_key_id for row in revoked}:
            for complete in lists.complete().of_authority(key_identifier):
                self._lists[key_identifier] = _serial_numbers(complete)

    def issuer_of(self, row: DeviceCertificate) -> x509.Certificate | None:
        return self._issuers.get(row.authority_key_id)

    def missing_revocations(self, row: DeviceCertificate) -> Iterator[Problem]:
        """Yield a problem for each list that should contain a revoked certificate and does not."""
        assert row.revoked_at is not None
        assert row.not_after is not None
        if row.not_after <= self.now or row.revoked_at > self.now - LISTED_WITHIN:
            return
        for name, key in (
            ("complete revocation list", row.authority_key_id),
            ("revocation list of its shard", row.distribution_point_id),
        ):
            if key is not None and int(row.serial_number, 16) not in self._lists.get(key, set()):
                yield "not_on_list", f"The certificate is revoked but not on the {name}."


def _serial_numbers(row: RevocationList) -> set[int]:
    if not row.der:
        return set()
    entries = x509.load_der_x509_crl(bytes(row.der))
    return {entry.serial_number for entry in entries}
