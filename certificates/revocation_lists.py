"""The lists of what is revoked: built aside, checked, then put in the place of the last."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings
from django.db import transaction
from django.db.models import Q

from certificates.device_certificates import DeviceCertificatesService
from certificates.errors import AuthorityUnavailable, NoSuchList
from certificates.models import (
    CertificateAuthority,
    CertificateQuerySet,
    DeviceCertificate,
    RevocationList,
)
from certificates.pki import crl
from certificates.pki.issuer import Issuer

MOST_AT_ONCE = 100_000  # revocations of one run; the next run takes the next
ROOT_VALIDITY = timedelta(days=180)  # its key may be far away

News = tuple[UUID, str, int | None, str]  # id, authority, shard, reason

log = logging.getLogger(__name__)


def rebuild_due(
    ca: DeviceCertificatesService, *, now: datetime, every: bool = False
) -> int:
    """Build every list that has news or is old, or every one; return how many.

    A revocation counts as listed when all lists that should have it were built. Two
    that do this at once build a list twice, with rising numbers.
    """
    unlisted = DeviceCertificate.objects.unlisted().order_by("revoked_at")
    news = list(
        unlisted.values_list(
            "pk", "authority_key_id", "distribution_point_id", "revocation_reason"
        )[:MOST_AT_ONCE]
    )
    built = set()
    for row in _due(news, now, every=every):
        try:
            build(row.pk, ca.issuer(row.authority.key_identifier), now=now)
            built.add(row.pk)
        except AuthorityUnavailable as error:
            log.error("revocation list %s: %s", row.pk, error)
    _mark_listed(news, built, now)
    return len(built)


def built(row: RevocationList, ca: DeviceCertificatesService, *, now: datetime) -> None:
    """See that a list that is asked for was built at least once.

    Raises:
        AuthorityUnavailable: the CA cannot sign now.
    """
    if row.number == 0:
        build(row.pk, ca.issuer(row.authority.key_identifier), now=now)
        row.refresh_from_db()


@transaction.atomic
def build(list_id: int, issuer: Issuer, *, now: datetime) -> RevocationList:
    """Build one list; its number follows the last one's, whoever else builds it too."""
    held = RevocationList.objects.select_for_update(of=("self",)).defer("der")
    row = held.select_related("authority").get(pk=list_id)
    since = row.this_update or now - timedelta(hours=settings.CRL_REBUILD_HOURS)
    entries = [
        crl.Entry(int(serial_number, 16), revoked_at or now, reason)
        for serial_number, revoked_at, reason in _in_scope(row)
        .filter(not_after__gte=since)
        .values_list("serial_number", "revoked_at", "revocation_reason")
    ]
    row.number += 1
    row.this_update = max(now, row.this_update or now)
    row.next_update = row.this_update + _validity(row)
    signed = crl.revocation_list(
        issuer=issuer,
        number=row.number,
        entries=entries,
        distribution_point=row.address,
        this_update=row.this_update,
        next_update=row.next_update,
    )
    _check(signed, issuer, len(entries))
    row.der = signed.public_bytes(Encoding.DER)
    row.digest, row.entries = sha256(row.der).hexdigest(), len(entries)
    row.save(
        update_fields=[
            *("number", "this_update", "next_update", "der", "digest", "entries")
        ]
    )
    return row


def complete_list(key_identifier: str) -> RevocationList:
    """The complete list of an authority, without its content.

    Raises:
        NoSuchList: there is no such authority.
    """
    lists = RevocationList.objects.defer("der").select_related("authority")
    row = lists.filter(
        slot__isnull=True, authority__key_identifier=key_identifier
    ).first()
    if row is None:
        raise NoSuchList
    return row


def complete_lists() -> list[RevocationList]:
    """The complete list of each trusted authority, without its content."""
    lists = RevocationList.objects.defer("der").select_related("authority")
    trusted = lists.filter(slot__isnull=True).exclude(
        authority__status=CertificateAuthority.Status.RETIRED
    )
    return list(trusted.order_by("pk"))


def shard(number: int) -> RevocationList:
    """The list of a distribution point, without its content.

    Raises:
        NoSuchList: no certificate has this distribution point.
    """
    lists = RevocationList.objects.defer("der").select_related("authority")
    row = lists.filter(slot__isnull=False, pk=number).first()
    if row is None:
        raise NoSuchList
    return row


def _due(news: Iterable[News], now: datetime, *, every: bool) -> list[RevocationList]:
    lists = (
        RevocationList.objects.defer("der")
        .select_related("authority")
        .exclude(authority__status=CertificateAuthority.Status.RETIRED)
        .order_by("pk")
    )
    if every:
        return list(lists)
    old = now - timedelta(hours=settings.CRL_REBUILD_HOURS)
    old_root = now - ROOT_VALIDITY / 2
    root = Q(authority__level=CertificateAuthority.Level.ROOT)
    due = lists.filter(
        Q(this_update__isnull=True)
        | Q(~root, this_update__lte=old)
        | Q(root, this_update__lte=old_root)
        | Q(pk__in={point for _, _, point, _ in news if point is not None})
        | Q(
            slot__isnull=True,
            authority__key_identifier__in={authority for _, authority, _, _ in news},
        )
    )
    return list(due)


def _mark_listed(news: Iterable[News], built: set[int], now: datetime) -> None:
    """Those whose reason is still the one that was listed, and whose lists were built."""
    complete = dict(
        RevocationList.objects.filter(slot__isnull=True).values_list(
            "authority__key_identifier", "pk"
        )
    )
    by_reason = defaultdict(list)
    for pk, authority, point, reason in news:
        if complete.get(authority) in built and point in {*built, None}:
            by_reason[reason].append(pk)
    for reason, listed in by_reason.items():
        DeviceCertificate.objects.filter(
            pk__in=listed, revocation_reason=reason
        ).update(listed_at=now)


def _in_scope(row: RevocationList) -> CertificateQuerySet:
    revoked: CertificateQuerySet = DeviceCertificate.objects.revoked()
    if row.slot is None:
        return revoked.signed_by(row.authority.key_identifier)
    return revoked.filter(distribution_point=row)


def _validity(row: RevocationList) -> timedelta:
    if row.authority.level == CertificateAuthority.Level.ROOT:
        return ROOT_VALIDITY
    return timedelta(hours=settings.CRL_VALIDITY_HOURS)


def _check(
    signed: x509.CertificateRevocationList, issuer: Issuer, entries: int
) -> None:
    """What was built is what was meant, before anybody gets to see it.

    Raises:
        AuthorityUnavailable: it is not; the last good list stays.
    """
    key = issuer.certificate.public_key()
    if len(signed) != entries or not signed.is_signature_valid(key):  # type: ignore[arg-type]
        raise AuthorityUnavailable("The list that was built is not right.")
