"""The continuous audit: every certificate looked at again, slice by slice, around the clock."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from django.conf import settings
from django.db import connection, transaction

from certificates.integrity import file_differences
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
from certificates.store import CertificateStore

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
        listed = _Listed(rows)
        drifted = 0
        for row in rows:
            problems = list(_problems(row, store, listed, now))
            _note(row, problems, now)
            drifted += bool(problems)
        inspection.inspected += len(rows)
        inspection.drifted += drifted
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
    ).select_related("distribution_point", "device")
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


def _problems(
    row: DeviceCertificate, store: CertificateStore, listed: "_Listed", now: datetime
) -> Iterator[Problem]:
    try:
        certificate = row.signed_certificate()
        digest = keys.public_digest(keys.acceptable(certificate.public_key()))
    except (ValueError, x509.InvalidVersion):
        yield "record_unreadable", "The recorded certificate cannot be read."
        return
    yield from _of_the_record(row, certificate, digest)
    yield from _of_the_profile(row, certificate)
    if row.status == Status.REVOKED:
        yield from listed.missing(row, now)
    elif row.status == Status.ACTIVE and row.handover_until is None:
        for difference in file_differences(row, store):
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
    row: DeviceCertificate, certificate: x509.Certificate
) -> Iterator[Problem]:
    issuer = CertificateAuthority.objects.identified(row.authority_key_id).first()
    if issuer is None:
        yield "authority_unknown", "The CA that signed it is not on record."
        return
    point = row.distribution_point
    for deviation in deviations(
        certificate,
        issuer=issuer.certificate(),
        device_id=row.device_id,
        crl=point.address if point else None,
    ):
        yield "profile_differs", f"Not as the profile says: {deviation}."


def _note(row: DeviceCertificate, problems: list[Problem], now: datetime) -> None:
    """Keep what is wrong, with the time since when; forget what is right again."""
    for kind, sentence in problems:
        Drift.objects.update_or_create(
            certificate=row,
            kind=kind,
            sentence=sentence[:400],
            defaults={"seen_at": now},
            create_defaults={"seen_at": now, "found_at": now},
        )
    row.drifts.exclude(seen_at=now).delete()


def _keep_the_last(inspection: Inspection) -> None:
    older = Inspection.objects.exclude(pk=inspection.pk).order_by("-started_at")[30:]
    Inspection.objects.filter(pk__in=[row.pk for row in older]).delete()


class _Listed:
    """The lists that the revoked certificates of a slice should be on."""

    def __init__(self, rows: list[DeviceCertificate]) -> None:
        revoked = [row for row in rows if row.status == Status.REVOKED]
        self._lists: dict[int | str, set[int]] = {}
        points = {row.distribution_point_id for row in revoked} - {None}
        signers = {row.authority_key_id for row in revoked}
        wanted = RevocationList.objects.select_related("authority")
        for found in wanted.filter(pk__in=points):
            self._lists[found.pk] = _serial_numbers(found)
        for found in wanted.filter(
            slot__isnull=True, authority__key_identifier__in=signers
        ):
            self._lists[found.authority.key_identifier] = _serial_numbers(found)

    def missing(self, row: DeviceCertificate, now: datetime) -> Iterator[Problem]:
        assert row.revoked_at is not None
        assert row.not_after is not None
        if row.not_after <= now or row.revoked_at > now - LISTED_WITHIN:
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
