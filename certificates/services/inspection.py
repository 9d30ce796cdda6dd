"""The continuous audit: every certificate looked at again, slice by slice, around the clock."""

from collections.abc import Iterator
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

LEAST_SLICE, MOST_SLICE = 200, 5_000  # certificates of one run
RUNS_EACH_HOUR = 60
LISTED_WITHIN = timedelta(minutes=10)  # of its revocation, on every list

Problem = tuple[str, str]  # kind, sentence
Status = DeviceCertificate.Status


def inspect_some(*, store: CertificateStore, now: datetime) -> int:
    """Look at the next slice of the present pass, and begin one if there is none.

    Returns how many were looked at. One runs at a time; a second finds nothing to do.
    """
    with transaction.atomic():
        inspection = _held(now)
        if inspection is None:
            return 0
        rows = _slice(inspection)
        against = _Against(rows, store, now)
        found = {row: list(_problems(row, against)) for row in rows}
        _note(found, now)
        inspection.inspected += len(rows)
        inspection.drifted += sum(1 for problems in found.values() if problems)
        if rows:
            inspection.reached = rows[-1].pk
        else:
            inspection.ended_at = now
            _keep_the_last(inspection)
        inspection.save()
    return len(rows)


def last_full_pass() -> Inspection | None:
    ended = Inspection.objects.filter(ended_at__isnull=False)
    return ended.order_by("-ended_at").first()


def _held(now: datetime) -> Inspection | None:
    """The pass under way, or a new one when it is time; None when another holds it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_try_advisory_xact_lock(hashtextextended('inspection', 0))"
        )
        if not cursor.fetchone()[0]:
            return None
    running = Inspection.objects.filter(ended_at__isnull=True).first()
    if running is not None:
        return running
    last = Inspection.objects.order_by("-started_at").first()
    if last is not None and now - last.started_at < _length_of_a_pass() / 2:
        return None
    return Inspection.objects.create(started_at=now)


def _length_of_a_pass() -> timedelta:
    return timedelta(hours=settings.INSPECTION_HOURS)


def _slice(inspection: Inspection) -> list[DeviceCertificate]:
    """The next ones in the order of their ids; so many that a pass takes its hours."""
    wanted = DeviceCertificate.objects.filter(
        status__in=(Status.ACTIVE, Status.SUPERSEDED, Status.REVOKED)
    )
    wanted = wanted.select_related("distribution_point").defer(
        "distribution_point__der"
    )
    if inspection.reached is not None:
        wanted = wanted.filter(pk__gt=inspection.reached)
    runs = settings.INSPECTION_HOURS * RUNS_EACH_HOUR
    size = min(max(_estimated() // runs, LEAST_SLICE), MOST_SLICE)
    return list(wanted.order_by("pk")[:size])


def _estimated() -> int:
    """About how many certificates there are, as the planner knows; counting takes long."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass",
            [DeviceCertificate._meta.db_table],
        )
        row = cursor.fetchone()
    return max(0, int(row[0])) if row else 0


def _problems(row: DeviceCertificate, against: "_Against") -> Iterator[Problem]:
    try:
        certificate = row.signed_certificate()
        digest = keys.public_digest(keys.acceptable(certificate.public_key()))
    except (ValueError, x509.InvalidVersion):
        yield "record_unreadable", "The recorded certificate cannot be read."
        return
    yield from _of_the_record(row, certificate, digest)
    yield from _of_the_profile(row, certificate, against.issuer_of(row))
    if row.status == Status.REVOKED:
        yield from against.missing(row)
    elif row.status == Status.ACTIVE and row.handover_until is None:
        yield from _of_the_files(row, against.store)


def _of_the_files(row: DeviceCertificate, store: CertificateStore) -> Iterator[Problem]:
    """What differs, and differs still for the record as it is now: issuances go on."""
    if not any(True for _ in file_differences(row, store)):
        return
    present = DeviceCertificate.objects.active().filter(pk=row.pk).first()
    if present is not None:
        for difference in file_differences(present, store):
            yield difference.kind, difference.sentence


def _of_the_record(
    row: DeviceCertificate, certificate: x509.Certificate, key_digest: str
) -> Iterator[Problem]:
    told = {
        "serial number": (row.serial_number, to_text(certificate.serial_number)),
        "fingerprint": (
            row.fingerprint,
            certificate.fingerprint(hashes.SHA256()).hex(),
        ),
        "begin": (row.not_before, certificate.not_valid_before_utc),
        "end": (row.not_after, certificate.not_valid_after_utc),
        "key": (row.public_key_digest, key_digest),
    }
    for name, (recorded, found) in told.items():
        if recorded != found:
            yield "record_differs", f"The record's {name} is not the certificate's."


def _of_the_profile(
    row: DeviceCertificate,
    certificate: x509.Certificate,
    issuer: x509.Certificate | None,
) -> Iterator[Problem]:
    if issuer is None:
        yield "authority_unknown", "The CA that signed it is not on record."
        return
    point = row.distribution_point
    for deviation in deviations(
        certificate,
        issuer=issuer,
        device_id=row.device_id,
        crl=point.address if point else None,
    ):
        yield "profile_differs", f"Not as the profile says: {deviation}."


def _note(found: dict[DeviceCertificate, list[Problem]], now: datetime) -> None:
    """Keep what is wrong, with the time since when; forget what is right again."""
    for row, problems in found.items():
        for kind, sentence in problems:
            Drift.objects.update_or_create(
                certificate=row,
                kind=kind,
                sentence=sentence[:400],
                defaults={"seen_at": now},
                create_defaults={"seen_at": now, "found_at": now},
            )
    Drift.objects.filter(certificate__in=list(found)).exclude(seen_at=now).delete()


def _keep_the_last(inspection: Inspection) -> None:
    older = Inspection.objects.exclude(pk=inspection.pk).order_by("-started_at")[30:]
    Inspection.objects.filter(pk__in=[row.pk for row in older]).delete()


class _Against:
    """What the certificates of a slice are compared with, read once for all of them."""

    def __init__(
        self, rows: list[DeviceCertificate], store: CertificateStore, now: datetime
    ) -> None:
        self.store, self.now = store, now
        signers = {row.authority_key_id for row in rows}
        self._issuers = {
            authority.key_identifier: authority.certificate()
            for authority in CertificateAuthority.objects.filter(
                key_identifier__in=signers
            )
        }
        revoked = [row for row in rows if row.status == Status.REVOKED]
        self._lists: dict[int | str, set[int]] = {}
        points = {
            row.distribution_point_id
            for row in revoked
            if row.distribution_point_id is not None
        }
        wanted = RevocationList.objects.select_related("authority")
        for point in points:
            self._lists[point] = _serial_numbers(wanted.get(pk=point))
        for signer in {row.authority_key_id for row in revoked}:
            for found in wanted.complete().of_authority(signer):
                self._lists[signer] = _serial_numbers(found)

    def issuer_of(self, row: DeviceCertificate) -> x509.Certificate | None:
        return self._issuers.get(row.authority_key_id)

    def missing(self, row: DeviceCertificate) -> Iterator[Problem]:
        assert row.revoked_at is not None
        assert row.not_after is not None
        if row.not_after <= self.now or row.revoked_at > self.now - LISTED_WITHIN:
            return
        for name, key in (
            ("complete list", row.authority_key_id),
            ("list of its shard", row.distribution_point_id),
        ):
            if key is not None and int(row.serial_number, 16) not in self._lists.get(
                key, set()
            ):
                yield "not_on_list", f"It is revoked and not on the {name}."


def _serial_numbers(row: RevocationList) -> set[int]:
    if not row.der:
        return set()
    entries = x509.load_der_x509_crl(bytes(row.der))
    return {entry.serial_number for entry in entries}
