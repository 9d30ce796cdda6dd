"""The lists of what is revoked: built aside, checked, then put in the place of the last."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings
from django.db import transaction
from django.db.models import Q

from certificates.errors import AuthorityUnavailable, InvalidList, NoSuchList
from certificates.models import (
    CertificateAuthority,
    CertificateQuerySet,
    DeviceCertificate,
    RevocationList,
)
from certificates.models.revocation_list import ListQuerySet
from certificates.pki import crl
from certificates.pki.issuer import Issuer
from certificates.services import authorities
from certificates.services.device_certificates import DeviceCertificatesService

ROOT_VALIDITY = timedelta(days=180)  # its key may be far away

Unlisted = dict[UUID, tuple[str, int | None]]  # certificate: its reason, its shard

log = logging.getLogger(__name__)


def rebuild_due(
    ca: DeviceCertificatesService, *, now: datetime, every: bool = False
) -> int:
    """Build every list that has news or is old, or every one; return how many.

    A revocation counts as listed when all lists that should have it were built with it.
    Two that do this at once build a list twice, with rising numbers.
    """
    on_complete: Unlisted = {}
    on_shard: Unlisted = {}
    count = 0
    for row in _due(now, every=every):
        try:
            issuer = ca.issuer(row.authority.key_identifier)
        except AuthorityUnavailable as error:
            # A root's key may be far away: the portal shows how long its list is good.
            far = row.authority.level == CertificateAuthority.Level.ROOT
            log.log(logging.DEBUG if far else logging.ERROR, "list %s: %s", row, error)
            continue
        news = _built(row.pk, issuer, now)[1]
        (on_complete if row.slot is None else on_shard).update(news)
        count += 1
    _mark_listed(on_complete, on_shard, now)
    return count


def built(row: RevocationList, ca: DeviceCertificatesService, *, now: datetime) -> None:
    """See that a list that is asked for was built at least once.

    Raises:
        AuthorityUnavailable: the CA cannot sign now.
    """
    if row.number == 0:
        build(row.pk, ca.issuer(row.authority.key_identifier), now=now)
        row.refresh_from_db()


def all_built(ca: DeviceCertificatesService, *, now: datetime) -> list[RevocationList]:
    """The complete list of each trusted CA; not of a root that has none here yet.

    Raises:
        AuthorityUnavailable: none was built, and none can be.
    """
    rows, reasons = [], []
    for row in complete_lists():
        try:
            built(row, ca, now=now)
            rows.append(row)
        except AuthorityUnavailable as error:
            reasons.append(error)
    if not rows and reasons:
        raise reasons[0]
    return rows


def build(list_id: int, issuer: Issuer, *, now: datetime) -> RevocationList:
    """Build one list; its number follows the last one's, whoever else builds it too."""
    return _built(list_id, issuer, now)[0]


def take_over(der: bytes) -> RevocationList:
    """Serve a list that an authority signed elsewhere, such as a root that is kept away.

    Raises:
        InvalidList: it is none, not signed by a trusted CA, or older than the one here.
    """
    try:
        given = x509.load_der_x509_crl(der)
        number = given.extensions.get_extension_for_class(x509.CRLNumber)
    except (ValueError, x509.ExtensionNotFound) as error:
        raise InvalidList("This is no revocation list with a number.") from error
    if given.next_update_utc is None:
        raise InvalidList("The list does not say until when it is good.")
    for row in complete_lists():
        if crl.is_signed_by(given, row.authority.certificate()):
            return _taken_over(row.pk, given, number.value.crl_number)
    raise InvalidList("No CA that is trusted here has signed this list.")


def complete_list(key_identifier: str) -> RevocationList:
    """The complete list of an authority, without its content.

    Raises:
        NoSuchList: there is no such authority.
    """
    lists = RevocationList.objects.complete().of_authority(key_identifier)
    return _found(lists)


def complete_lists() -> list[RevocationList]:
    """The complete list of each trusted authority, without its content."""
    trusted = RevocationList.objects.complete().trusted().without_content()
    return list(trusted.order_by("pk"))


def shard(number: int) -> RevocationList:
    """The list of a distribution point, without its content.

    Raises:
        NoSuchList: no certificate has this distribution point.
    """
    return _found(RevocationList.objects.shards().filter(pk=number))


def _found(lists: ListQuerySet) -> RevocationList:
    row: RevocationList | None = lists.without_content().first()
    if row is None:
        raise NoSuchList
    return row


@transaction.atomic
def _built(
    list_id: int, issuer: Issuer, now: datetime
) -> tuple[RevocationList, Unlisted]:
    """The list, and what stands on it that was on none so far."""
    lists = RevocationList.objects.without_content()
    row = lists.select_for_update(of=("self",)).get(pk=list_id)
    since = row.this_update or now - timedelta(hours=settings.CRL_REBUILD_HOURS)
    found = list(
        _in_scope(row)
        .filter(not_after__gte=since)
        .values_list(
            *("pk", "serial_number", "revoked_at", "revocation_reason"),
            *("listed_at", "distribution_point_id"),
        )
    )
    entries = [
        crl.Entry(int(number, 16), revoked_at or now, reason)
        for _, number, revoked_at, reason, _, _ in found
    ]
    entries += _retirements(row, since)
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
    _keep(row, signed.public_bytes(Encoding.DER), len(entries))
    return row, {
        pk: (reason, point)
        for pk, _, _, reason, listed_at, point in found
        if listed_at is None
    }


@transaction.atomic
def _taken_over(
    list_id: int, given: x509.CertificateRevocationList, number: int
) -> RevocationList:
    held = RevocationList.objects.select_for_update().get(pk=list_id)
    if number <= held.number:
        raise InvalidList(f"List number {held.number} is here already.")
    held.number = number
    held.this_update, held.next_update = given.last_update_utc, given.next_update_utc
    _keep(held, given.public_bytes(Encoding.DER), len(given))
    return held


def _keep(row: RevocationList, der: bytes, entries: int) -> None:
    row.der, row.digest, row.entries = der, sha256(der).hexdigest(), entries
    row.save(
        update_fields=[
            *("number", "this_update", "next_update", "der", "digest", "entries")
        ]
    )


def _due(now: datetime, *, every: bool) -> list[RevocationList]:
    lists = RevocationList.objects.trusted().without_content().order_by("pk")
    if every:
        return list(lists)
    unlisted = DeviceCertificate.objects.unlisted()
    news = set(
        unlisted.values_list("authority_key_id", "distribution_point_id").distinct()
    )
    old = now - timedelta(hours=settings.CRL_REBUILD_HOURS)
    old_root = now - ROOT_VALIDITY / 2
    root = Q(authority__level=CertificateAuthority.Level.ROOT)
    due = lists.filter(
        Q(this_update__isnull=True)
        | Q(~root, this_update__lte=old)
        | Q(root, this_update__lte=old_root)
        | Q(pk__in={point for _, point in news if point is not None})
        | Q(
            slot__isnull=True,
            authority__key_identifier__in={authority for authority, _ in news},
        )
    )
    retirements = lists.filter(root, pk__in=_without_a_retirement(lists.filter(root)))
    return list({row.pk: row for row in [*due, *retirements]}.values())


def _without_a_retirement(roots: Iterable[RevocationList]) -> list[int]:
    """The lists of roots that do not say yet that a CA below them was retired."""
    return [
        row.pk
        for row in roots
        if row.this_update is not None
        and any(at > row.this_update for _, at in _retired_below(row.authority))
    ]


def _retired_below(
    root: CertificateAuthority,
) -> Iterator[tuple[CertificateAuthority, datetime]]:
    """The CAs that a root has signed itself and that are trusted no more, since when."""
    for row in authorities.below(root):
        if row.retired_at is not None and row.certificates()[1] == root.certificate():
            yield row, row.retired_at


def _retirements(row: RevocationList, since: datetime) -> Iterator[crl.Entry]:
    """What a root's list says of the CAs below it."""
    reason = DeviceCertificate.Reason.CESSATION_OF_OPERATION.value
    for below, retired_at in _retired_below(row.authority):
        if below.not_after >= since:
            yield crl.Entry(below.certificate().serial_number, retired_at, reason)


def _mark_listed(on_complete: Unlisted, on_shard: Unlisted, now: datetime) -> None:
    """What stands on all its lists now, with the reason that it still has."""
    by_reason = defaultdict(list)
    for pk, (reason, point) in on_complete.items():
        if point is None or on_shard.get(pk) == (reason, point):
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
    if len(signed) != entries or not crl.is_signed_by(signed, issuer.certificate):
        raise AuthorityUnavailable("The list that was built is not right.")
