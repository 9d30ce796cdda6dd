"""CA rotation: its steps (prepare, switch, move, retire), its state and the next step."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from certificates.errors import NoAuthority, NotReadyForRotation
from certificates.events import AuthorityChanged
from certificates.models import (
    CertificateAuthority,
    CertificateQuerySet,
    DeviceCertificate,
    RenewalCampaign,
)
from certificates.pki import keys
from certificates.pki.keys import KeyType
from certificates.services import authorities, authority_creation, authority_files, revocation_lists
from certificates.services.authority_creation import DEVICE_CA
from certificates.services.authority_files import KeyHolder
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.device_certificates import DeviceCertificatesService
from core.querysets import first_or_raise
from events.services.outbox import record

Level, Status = CertificateAuthority.Level, CertificateAuthority.Status


@transaction.atomic
def prepare(
    ca: DeviceCertificatesService,
    *,
    key_type: KeyType = "rsa",
    with_root: bool = False,
    holder: KeyHolder | None = None,
    chain: bytes | None = None,
    now: datetime,
) -> CertificateAuthority:
    """Create or import the next CA. It is trusted at once but does not sign yet.

    Args:
        key_type: type of the key to generate if `holder` is None.
        with_root: whether to put the new CA below a root.
        holder: an existing key to use instead of a new one.
        chain: the CA certificates for `holder` in PEM, if they exist already.

    Raises:
        NotReadyForRotation: a CA is already prepared, or another CA has the same key.
        InvalidAuthority: `holder` and `chain` cannot act as a CA.
        AuthorityUnavailable: the current CA cannot be used.
    """
    authorities.lock_authorities()
    authorities.signing_issuer(ca, now=now)
    if CertificateAuthority.objects.filter(status=Status.NEXT).exists():
        raise NotReadyForRotation("A new CA is already prepared. Switch to it first.")
    if holder is not None and _is_in_use(holder):
        raise NotReadyForRotation("Another CA on this server has this key. Use a new key.")
    if chain is not None and holder is not None:
        files = ca.store.authority(authority_files.identifier_of(holder.key))
        issuer = authority_creation.import_authority(
            ca.store, files, holder=holder, chain=chain, now=now, resume=True
        )
    else:
        issuer = authority_creation.create_successor(
            ca.store,
            name=f"{DEVICE_CA} {CertificateAuthority.objects.issuing().count() + 1}",
            now=now,
            key_type=key_type,
            with_root=with_root,
            holder=holder,
            roots=_trusted_root_ids(),
        )
    row = authorities.record_authority(issuer, Status.NEXT, now)
    authorities.record_roots(issuer.chain[1:], now)
    record([AuthorityChanged.of(row, now)])
    return row


def _is_in_use(holder: KeyHolder) -> bool:
    digest = keys.public_digest(holder.key.public_key())
    return CertificateAuthority.objects.filter(public_key_digest=digest).exists()


def _trusted_root_ids() -> set[str]:
    """Return the key identifiers of the trusted roots."""
    roots = CertificateAuthority.objects.trusted().filter(level=Level.ROOT)
    return set(roots.values_list("key_identifier", flat=True))


@transaction.atomic
def switch(ca: DeviceCertificatesService, *, now: datetime) -> CertificateAuthority:
    """Make the prepared CA the signing CA. The previous CA stays trusted.

    Raises:
        NotReadyForRotation: no CA is prepared.
        AuthorityUnavailable: the key of the prepared CA cannot be used.
    """
    authorities.lock_authorities()
    prepared = first_or_raise(
        CertificateAuthority.objects.filter(status=Status.NEXT),
        NotReadyForRotation("No new CA is prepared. Prepare one first."),
    )
    ca.issuer(prepared.key_identifier)
    previous = CertificateAuthority.objects.signing().first()
    if previous is not None:
        previous.status, previous.superseded_at = Status.TRUSTED, now
        previous.save(update_fields=["status", "superseded_at"])
        record([AuthorityChanged.of(previous, now)])
    prepared.status, prepared.signing_since = Status.SIGNING, now
    prepared.save(update_fields=["status", "signing_since"])
    record([AuthorityChanged.of(prepared, now)])
    return prepared


@transaction.atomic
def retire(*, key_identifier: str, now: datetime) -> CertificateAuthority:
    """End the trust in a CA that no device needs any more.

    The CA's root is retired too if no other trusted CA is below this root. Retiring a
    retired CA has no effect.

    Raises:
        NoAuthority: no CA has this key identifier.
        NotReadyForRotation: the CA is the signing CA, certificates of the CA are valid,
            a trusted CA is below the CA, or revoked certificates are not listed yet.
    """
    authorities.lock_authorities()
    row = first_or_raise(
        CertificateAuthority.objects.with_key_identifier(key_identifier), NoAuthority
    )
    if row.status == Status.RETIRED:
        return row
    if row.status == Status.SIGNING:
        raise NotReadyForRotation("The CA is the signing CA. Switch to another CA first.")
    if _has_trusted_subordinates(row):
        raise NotReadyForRotation("A trusted CA is below this CA.")
    certificates = DeviceCertificate.objects.signed_by(key_identifier)
    valid = certificates.accepted().count()
    if valid:
        raise NotReadyForRotation(f"{valid} certificates of the CA are still valid.")
    if certificates.unlisted().exists():
        raise NotReadyForRotation(
            "Revoked certificates of the CA are not on a revocation list yet. Run "
            "build_revocation_lists first."
        )
    _retire(row, now)
    for root in CertificateAuthority.objects.trusted().filter(level=Level.ROOT):
        is_above = root.certificate() in row.certificates()[1:]
        if is_above and not _has_trusted_subordinates(root):
            _retire(root, now)
    return row


def _has_trusted_subordinates(row: CertificateAuthority) -> bool:
    subordinates = authorities.subordinates_of(row)
    return any(item.status != Status.RETIRED for item in subordinates)


def _retire(row: CertificateAuthority, now: datetime) -> None:
    row.status, row.retired_at = Status.RETIRED, now
    row.save(update_fields=["status", "retired_at"])
    record([AuthorityChanged.of(row, now)])


@dataclass(frozen=True, slots=True)
class AuthorityUsage:
    """A CA and the numbers of its valid certificates.

    Attributes:
        in_use: certificates that devices use and that have no successor.
        handed_over: certificates with a successor that the device has not confirmed.
        superseded: certificates with a confirmed successor.
    """

    authority: CertificateAuthority
    in_use: int
    handed_over: int
    superseded: int


def authority_usages() -> list[AuthorityUsage]:
    """Return the usage of every trusted issuing CA, the oldest first."""
    usages = []
    for row in CertificateAuthority.objects.trusted().issuing().order_by("created_at"):
        certificates = DeviceCertificate.objects.signed_by(row.key_identifier)
        active = certificates.filter(status=DeviceCertificate.Status.ACTIVE)
        in_use = certificates.active().count()
        superseded = certificates.accepted().count() - active.count()
        usages.append(AuthorityUsage(row, in_use, active.count() - in_use, superseded))
    return usages


def next_step(usages: list[AuthorityUsage]) -> tuple[str, str]:
    """Return the next step of the rotation and an instruction for the operator.

    Args:
        usages: the result of `authority_usages`.

    Returns:
        The step (`prepare`, `switch`, `move`, `wait` or `retire`) and the instruction.
    """
    by_status = {usage.authority.status: usage for usage in usages}
    if Status.NEXT in by_status:
        return (
            "switch",
            "Install the new trusted.pem on everything that verifies device "
            "certificates (TLS proxies fetch /certificates/trusted.pem themselves), "
            "then run: rotate_ca switch",
        )
    former = [usage for usage in usages if usage.authority.status == Status.TRUSTED]
    if not former:
        return "prepare", "No rotation is in progress. To start one: rotate_ca prepare"
    if any(usage.in_use for usage in former):
        if RenewalCampaign.objects.running().exclude(authority_key_id="").exists():
            return ("wait", "Certificates of the former CA are being renewed. Check again later.")
        return ("move", "Renew the certificates of the former CA: rotate_ca move --per-minute N")
    if any(usage.handed_over for usage in former):
        return (
            "wait",
            "Some devices have not fetched their new certificates yet. Wait at most "
            "HANDOVER_DAYS and check again.",
        )
    if any(usage.superseded for usage in former):
        return (
            "retire",
            "No device uses the former CA. Wait until its last certificate has "
            "expired, or revoke the superseded certificates: "
            "rotate_ca retire --revoke-superseded",
        )
    return "retire", "The former CA has no valid certificates. To retire it: rotate_ca retire"


def destroy_retired_keys(ca: DeviceCertificatesService) -> bool:
    """Remove the keys of all retired CAs. Return True if at least one key was removed.

    Processes that have already loaded such a key keep it in memory until they restart.
    """
    retired = CertificateAuthority.objects.filter(status=Status.RETIRED)
    destroyed = [authority_files.destroy_key(ca.store, row.key_identifier) for row in retired]
    return any(destroyed)


def former_authorities() -> list[CertificateAuthority]:
    """Return the CAs that signed before and are still trusted, the oldest first."""
    trusted = CertificateAuthority.objects.issuing().filter(status=Status.TRUSTED)
    return list(trusted.order_by("created_at"))


def check_not_in_use(authority: CertificateAuthority, *, unconfirmed: bool) -> None:
    """Check that no device depends on a certificate of a CA.

    Args:
        unconfirmed: whether to ignore certificates whose successor the device has not
            confirmed.

    Raises:
        NotReadyForRotation: a device may have no other certificate.
    """
    certificates = DeviceCertificate.objects.signed_by(authority.key_identifier)
    needed = certificates.active()
    if not unconfirmed:
        needed = certificates.filter(status=DeviceCertificate.Status.ACTIVE)
    count = needed.count()
    if count:
        raise NotReadyForRotation(
            f"{count} certificates of the CA are still valid and in use. Nothing was revoked."
        )


def revoke_and_retire(
    authority: CertificateAuthority,
    service: CertificateManagementService,
    *,
    unconfirmed: bool,
    now: datetime,
) -> Iterator[DeviceCertificate]:
    """Revoke the remaining certificates of a former CA, list them, and retire the CA.

    Yield each revoked certificate. An interrupted run can be repeated.

    Args:
        unconfirmed: whether to revoke certificates whose successor the device has not
            confirmed, too.

    Raises:
        NotReadyForRotation: devices need certificates of the CA. Nothing was revoked.
    """
    check_not_in_use(authority, unconfirmed=unconfirmed)
    for row in replaced_certificates(authority, unconfirmed=unconfirmed).iterator():
        yield service.revoke_certificate(row, reason=DeviceCertificate.Reason.SUPERSEDED, now=now)
    revocation_lists.rebuild_due(service.ca, now=now)
    retire(key_identifier=authority.key_identifier, now=now)


def replaced_certificates(
    authority: CertificateAuthority, *, unconfirmed: bool
) -> CertificateQuerySet:
    """Return the valid certificates of a former CA that have a successor.

    Args:
        unconfirmed: whether to include certificates whose successor the device has not
            confirmed.
    """
    valid = DeviceCertificate.objects.signed_by(authority.key_identifier).accepted()
    replaced = valid.exclude(pk__in=valid.active().values("pk"))
    if not unconfirmed:
        replaced = replaced.filter(status=DeviceCertificate.Status.SUPERSEDED)
    return replaced
