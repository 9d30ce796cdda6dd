"""Building, importing and looking up certificate revocation lists."""

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
from certificates.models.forgotten import ForgottenRevocation
from certificates.models.revocation_list import ListQuerySet
from certificates.pki import crl
from certificates.pki.issuer import Issuer
from certificates.services import authorities
from certificates.services.device_certificates import DeviceCertificatesService
from core.querysets import first_or_raise

ROOT_VALIDITY = timedelta(days=180)  # a root's key may be offline

# Newly listed certificates: id → (revocation reason, id of the shard).
NewEntries = dict[UUID, tuple[str, int | None]]

log = logging.getLogger(__name__)


def rebuild_due(ca: DeviceCertificatesService, *, now: datetime, every: bool = False) -> int:
    """Build the lists that have new entries or are due for a rebuild. Return their number.

    A certificate is marked as listed when all lists that should contain it do contain it.
    Concurrent runs may build a list twice, with increasing numbers.

    Args:
        every: whether to build all lists.
    """
    on_complete: NewEntries = {}
    on_shard: NewEntries = {}
    count = 0
    for row in _due(now, every=every):
        try:
            issuer = ca.issuer(row.authority.key_identifier)
        except AuthorityUnavailable as error:
            # A root's key may be offline. The portal shows when its list expires.
            is_root = row.authority.level == CertificateAuthority.Level.ROOT
            level = logging.DEBUG if is_root else logging.ERROR
            log.log(level, "Revocation list %s cannot be built: %s", row, error)
            continue
        new_entries = _build(row.pk, issuer, now)[1]
        (on_complete if row.slot is None else on_shard).update(new_entries)
        count += 1
    _mark_listed(on_complete, on_shard, now)
    return count


def ensure_built(row: RevocationList, ca: DeviceCertificatesService, *, now: datetime) -> None:
    """Build a list if it was never built.

    Raises:
        AuthorityUnavailable: the CA cannot sign now.
    """
    if row.number == 0:
        build(row.pk, ca.issuer(row.authority.key_identifier), now=now)
        row.refresh_from_db()


def built_complete_lists(ca: DeviceCertificatesService, *, now: datetime) -> list[RevocationList]:
    """Return the complete lists of all trusted CAs, built if necessary.

    Lists that were never built and cannot be built now, such as the list of an offline
    root, are left out.

    Raises:
        AuthorityUnavailable: no list is left.
    """
    rows, errors = [], []
    for row in complete_lists():
        try:
            ensure_built(row, ca, now=now)
            rows.append(row)
        except AuthorityUnavailable as error:
            errors.append(error)
    if not rows and errors:
        raise errors[0]
    return rows


def build(list_id: int, issuer: Issuer, *, now: datetime) -> RevocationList:
    """Build one list with the next number. Concurrent builds get different numbers."""
    return _build(list_id, issuer, now)[0]


def import_list(der: bytes) -> RevocationList:
    """Import a list that a CA, such as an offline root, signed elsewhere.

    Raises:
        InvalidList: the content is not a list with a CRL number and a nextUpdate, was not signed
            by a trusted CA, or is not newer than the current list.
    """
    try:
        imported = x509.load_der_x509_crl(der)
        number = imported.extensions.get_extension_for_class(x509.CRLNumber)
    except (ValueError, x509.ExtensionNotFound) as error:
        raise InvalidList("The file is not a revocation list in DER with a CRL number.") from error
    if imported.next_update_utc is None:
        raise InvalidList("The revocation list has no nextUpdate.")
    for row in complete_lists():
        if crl.is_signed_by(imported, row.authority.certificate()):
            return _import(row.pk, imported, number.value.crl_number)
    raise InvalidList("No CA trusted by this server has signed the revocation list.")


def complete_list(key_identifier: str) -> RevocationList:
    """Return the complete list of an authority. Its content is not loaded.

    Args:
        key_identifier: key identifier of the authority, hex.

    Raises:
        NoSuchList: the authority does not exist.
    """
    lists = RevocationList.objects.complete().of_authority(key_identifier)
    return _first(lists)


def complete_lists() -> list[RevocationList]:
    """Return the complete list of each trusted authority. The contents are not loaded."""
    trusted = RevocationList.objects.complete().trusted().without_content()
    return list(trusted.order_by("pk"))


def shard(number: int) -> RevocationList:
    """Return the shard with the given number. Its content is not loaded.

    Raises:
        NoSuchList: the shard does not exist.
    """
    return _first(RevocationList.objects.shards().filter(pk=number))


def _first(lists: ListQuerySet) -> RevocationList:
    return first_or_raise(lists.without_content(), NoSuchList)


@transaction.atomic
def _build(list_id: int, issuer: Issuer, now: datetime) -> tuple[RevocationList, NewEntries]:
    """Build, check and save a list. Return the list and its entries not marked as listed."""
    lists = RevocationList.objects.without_content()
    row = lists.select_for_update(of=("self",)).get(pk=list_id)
    # Keep an entry until a list built after the certificate's end contains it (RFC 5280
    # §3.3).
    since = row.this_update or now - timedelta(hours=settings.CRL_REBUILD_HOURS)
    revoked = list(
        _certificates_on(row)
        .filter(not_after__gte=since)
        .values_list(
            "pk",
            "serial_number",
            "revoked_at",
            "revocation_reason",
            "listed_at",
            "distribution_point_id",
        )
    )
    entries = [
        crl.Entry(int(number, 16), revoked_at or now, reason)
        for _, number, revoked_at, reason, _, _ in revoked
    ]
    entries += _forgotten(row, since)
    entries += _retirements(row, since)
    row.number += 1
    row.this_update = max(now, row.this_update or now)
    row.next_update = row.this_update + _validity(row)
    revocation_list = crl.revocation_list(
        issuer=issuer,
        number=row.number,
        entries=entries,
        distribution_point=row.address,
        this_update=row.this_update,
        next_update=row.next_update,
    )
    _check(revocation_list, issuer, len(entries))
    _save(row, revocation_list.public_bytes(Encoding.DER), len(entries))
    return row, {
        pk: (reason, shard_id)
        for pk, _, _, reason, listed_at, shard_id in revoked
        if listed_at is None
    }


@transaction.atomic
def _import(list_id: int, imported: x509.CertificateRevocationList, number: int) -> RevocationList:
    row = RevocationList.objects.select_for_update().get(pk=list_id)
    if number <= row.number:
        raise InvalidList(f"The CRL number {number} must be higher than the current {row.number}.")
    row.number = number
    row.this_update = imported.last_update_utc
    row.next_update = imported.next_update_utc
    _save(row, imported.public_bytes(Encoding.DER), len(imported))
    return row


def _save(row: RevocationList, der: bytes, entries: int) -> None:
    row.der, row.digest, row.entries = der, sha256(der).hexdigest(), entries
    row.save(update_fields=["number", "this_update", "next_update", "der", "digest", "entries"])


def _due(now: datetime, *, every: bool) -> list[RevocationList]:
    """Return the lists to build.

    These are the lists that were never built, are too old, or lack a revoked certificate or
    a retired CA.
    """
    lists = RevocationList.objects.trusted().without_content().order_by("pk")
    if every:
        return list(lists)
    unlisted = DeviceCertificate.objects.unlisted()
    unlisted_in = set(unlisted.values_list("authority_key_id", "distribution_point_id").distinct())
    rebuild_before = now - timedelta(hours=settings.CRL_REBUILD_HOURS)
    rebuild_root_before = now - ROOT_VALIDITY / 2
    root = Q(authority__level=CertificateAuthority.Level.ROOT)
    due = lists.filter(
        Q(this_update__isnull=True)
        | Q(~root, this_update__lte=rebuild_before)
        | Q(root, this_update__lte=rebuild_root_before)
        | Q(pk__in={shard_id for _, shard_id in unlisted_in if shard_id is not None})
        | Q(
            slot__isnull=True,
            authority__key_identifier__in={authority for authority, _ in unlisted_in},
        )
    )
    retirements = lists.filter(root, pk__in=_lacking_retirement(lists.filter(root)))
    return list({row.pk: row for row in [*due, *retirements]}.values())


def _lacking_retirement(roots: Iterable[RevocationList]) -> list[int]:
    """Return the ids of root lists that were built before a CA below the root was retired."""
    return [
        row.pk
        for row in roots
        if row.this_update is not None
        and any(at > row.this_update for _, at in _retired_below(row.authority))
    ]


def _retired_below(root: CertificateAuthority) -> Iterator[tuple[CertificateAuthority, datetime]]:
    """Yield the retired CAs that a root signed directly, and when they were retired."""
    for row in authorities.subordinates_of(root):
        if row.retired_at is not None and row.certificates()[1] == root.certificate():
            yield row, row.retired_at


def _retirements(row: RevocationList, since: datetime) -> Iterator[crl.Entry]:
    """Yield the entries of a root's list for retired CAs below it."""
    reason = DeviceCertificate.Reason.CESSATION_OF_OPERATION.value
    for retired, retired_at in _retired_below(row.authority):
        if retired.not_after >= since:
            yield crl.Entry(retired.certificate().serial_number, retired_at, reason)


def _mark_listed(on_complete: NewEntries, on_shard: NewEntries, now: datetime) -> None:
    """Mark each certificate as listed whose lists all contain it with its current reason."""
    by_reason = defaultdict(list)
    for pk, (reason, shard_id) in on_complete.items():
        if shard_id is None or on_shard.get(pk) == (reason, shard_id):
            by_reason[reason].append(pk)
    for reason, ids in by_reason.items():
        DeviceCertificate.objects.filter(pk__in=ids, revocation_reason=reason).update(listed_at=now)


def _certificates_on(row: RevocationList) -> CertificateQuerySet:
    """Return the revoked certificates that a list should contain."""
    revoked = DeviceCertificate.objects.revoked()
    if row.slot is None:
        return revoked.signed_by(row.authority.key_identifier)
    return revoked.filter(distribution_point=row)


def _forgotten(row: RevocationList, since: datetime) -> Iterator[crl.Entry]:
    """Yield the entries of a list for certificates of deleted tenants."""
    rows = ForgottenRevocation.objects.filter(not_after__gte=since)
    if row.slot is None:
        rows = rows.filter(authority_key_id=row.authority.key_identifier)
    else:
        rows = rows.filter(distribution_point=row)
    for number, revoked_at, reason in rows.values_list(
        "serial_number", "revoked_at", "revocation_reason"
    ):
        yield crl.Entry(int(number, 16), revoked_at, reason)


def _validity(row: RevocationList) -> timedelta:
    if row.authority.level == CertificateAuthority.Level.ROOT:
        return ROOT_VALIDITY
    return timedelta(hours=settings.CRL_VALIDITY_HOURS)


def _check(revocation_list: x509.CertificateRevocationList, issuer: Issuer, entries: int) -> None:
    """Check the number of entries and the signature of a list before it is published.

    Raises:
        AuthorityUnavailable: the check failed; the previous list stays published.
    """
    valid_signature = crl.is_signed_by(revocation_list, issuer.certificate)
    if len(revocation_list) != entries or not valid_signature:
        raise AuthorityUnavailable(
            "The new revocation list has a wrong signature or number of entries."
        )
