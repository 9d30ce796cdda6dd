"""From one CA to the next: its steps, where it stands, and what comes next."""

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
from certificates.services import (
    authorities,
    authority_creation,
    authority_files,
    revocation_lists,
)
from certificates.services.authority_creation import DEVICE_CA
from certificates.services.authority_files import KeyHolder
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.device_certificates import DeviceCertificatesService
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
    """Put a new authority beside the one that signs; everybody may learn to trust it.

    Args:
        holder: a key to use instead of a new one;
        chain: and its certificates, when it has some already.

    Raises:
        NotReadyForRotation: one is prepared already.
        InvalidAuthority: what was given cannot act as an authority.
    """
    authorities.alone()
    authorities.signing_issuer(ca, now=now)
    if CertificateAuthority.objects.filter(status=Status.NEXT).exists():
        raise NotReadyForRotation("A new CA is prepared already: switch to it.")
    if holder is not None and _is_known(holder):
        raise NotReadyForRotation("This key is another CA's here: take a new one.")
    if chain is not None and holder is not None:
        files = ca.store.authority(authority_files.identifier_of(holder.key))
        issuer = authority_creation.take_over(
            ca.store, files, holder=holder, chain=chain, now=now, again=True
        )
    else:
        issuer = authority_creation.make_successor(
            ca.store,
            name=f"{DEVICE_CA} {CertificateAuthority.objects.issuing().count() + 1}",
            now=now,
            key_type=key_type,
            with_root=with_root,
            holder=holder,
            roots=_roots(),
        )
    row = authorities.recorded(issuer, Status.NEXT, now)
    authorities.record_above(issuer.chain[1:], now)
    record([AuthorityChanged.of(row, now)])
    return row


def _is_known(holder: KeyHolder) -> bool:
    digest = keys.public_digest(holder.key.public_key())
    return CertificateAuthority.objects.filter(public_key_digest=digest).exists()


def _roots() -> set[str]:
    """Below which another issuing CA may be put."""
    roots = CertificateAuthority.objects.trusted().filter(level=Level.ROOT)
    return set(roots.values_list("key_identifier", flat=True))


@transaction.atomic
def switch(ca: DeviceCertificatesService, *, now: datetime) -> CertificateAuthority:
    """Let the prepared authority sign from now on; the one before stays trusted.

    Raises:
        NotReadyForRotation: none is prepared.
        AuthorityUnavailable: its key cannot be used.
    """
    authorities.alone()
    following = CertificateAuthority.objects.filter(status=Status.NEXT).first()
    if following is None:
        raise NotReadyForRotation("No new CA is prepared.")
    ca.issuer(following.key_identifier)
    before = CertificateAuthority.objects.signing().first()
    if before is not None:
        before.status, before.superseded_at = Status.TRUSTED, now
        before.save(update_fields=["status", "superseded_at"])
        record([AuthorityChanged.of(before, now)])
    following.status, following.signing_since = Status.SIGNING, now
    following.save(update_fields=["status", "signing_since"])
    record([AuthorityChanged.of(following, now)])
    return following


@transaction.atomic
def retire(*, key_identifier: str, now: datetime) -> CertificateAuthority:
    """End the trust in an authority that no device needs any more.

    Raises:
        NoAuthority: there is none with this key identifier.
        NotReadyForRotation: it signs, or certificates of it are in use.
    """
    authorities.alone()
    row = CertificateAuthority.objects.identified(key_identifier).first()
    if row is None:
        raise NoAuthority
    if row.status == Status.RETIRED:
        return row
    if row.status == Status.SIGNING:
        raise NotReadyForRotation("The CA signs: switch to another one first.")
    if _trusted_below(row):
        raise NotReadyForRotation("The CA stands above one that is trusted.")
    signed = DeviceCertificate.objects.signed_by(key_identifier)
    left = signed.unended().count()
    if left:
        raise NotReadyForRotation(f"{left} certificates of the CA are valid still.")
    if signed.unlisted().exists():
        raise NotReadyForRotation(
            "Revocations of the CA are on no list yet: build_revocation_lists."
        )
    _end(row, now)
    for root in CertificateAuthority.objects.trusted().filter(level=Level.ROOT):
        if root.certificate() in row.certificates()[1:] and not _trusted_below(root):
            _end(root, now)
    return row


def _trusted_below(row: CertificateAuthority) -> bool:
    below = authorities.below(row)
    return any(other.status != Status.RETIRED for other in below)


def _end(row: CertificateAuthority, now: datetime) -> None:
    row.status, row.retired_at = Status.RETIRED, now
    row.save(update_fields=["status", "retired_at"])
    record([AuthorityChanged.of(row, now)])


@dataclass(frozen=True, slots=True)
class Standing:
    """One authority, and how many valid certificates of it there are."""

    authority: CertificateAuthority
    in_use: int
    handed_over: int  # with a successor that the device has not confirmed
    superseded: int  # valid still, and of no use to anybody


def standings() -> list[Standing]:
    """Every trusted authority that signs or signed for devices."""
    found = []
    for row in CertificateAuthority.objects.trusted().issuing().order_by("created_at"):
        signed = DeviceCertificate.objects.signed_by(row.key_identifier)
        active = signed.filter(status=DeviceCertificate.Status.ACTIVE)
        in_use = signed.active().count()
        superseded = signed.unended().count() - active.count()
        found.append(Standing(row, in_use, active.count() - in_use, superseded))
    return found


def next_step(standing: list[Standing]) -> tuple[str, str]:
    """The step that is due, and what the operator has to see to before it."""
    by_status = {item.authority.status: item for item in standing}
    if Status.NEXT in by_status:
        return (
            "switch",
            "Give everything that verifies devices the new trusted.pem (proxies fetch "
            "/certificates/trusted.pem by themselves), then: rotate_ca switch",
        )
    former = [item for item in standing if item.authority.status == Status.TRUSTED]
    if not former:
        return "prepare", "Nothing is under way. To begin: rotate_ca prepare"
    if any(item.in_use for item in former):
        if RenewalCampaign.objects.running().exclude(authority_key_id="").exists():
            return "wait", "Certificates are being renewed; come again later."
        return (
            "move",
            "Have the certificates of the former CA renewed: "
            "rotate_ca move --per-minute N",
        )
    if any(item.handed_over for item in former):
        return (
            "wait",
            "Devices have not fetched their new certificates yet: come again later, at "
            "most HANDOVER_DAYS.",
        )
    if any(item.superseded for item in former):
        return (
            "retire",
            "No device uses the former CA. Wait until its last certificate has ended, or "
            "revoke those that were superseded: rotate_ca retire --revoke-superseded",
        )
    return "retire", "Nothing of the former CA is valid: rotate_ca retire"


def destroy_retired_keys(ca: DeviceCertificatesService) -> bool:
    """Remove the keys of all that are retired; whether there was one.

    Processes that have loaded one keep it until they are started anew.
    """
    retired = CertificateAuthority.objects.filter(status=Status.RETIRED)
    destroyed = [
        authority_files.destroy_key(ca.store, row.key_identifier) for row in retired
    ]
    return any(destroyed)


def former() -> list[CertificateAuthority]:
    """Those that signed before and are trusted still, the oldest first."""
    trusted = CertificateAuthority.objects.issuing().filter(status=Status.TRUSTED)
    return list(trusted.order_by("created_at"))


def see_that_no_device_needs(
    authority: CertificateAuthority, *, unconfirmed: bool
) -> None:
    """Before anything is revoked.

    Raises:
        NotReadyForRotation: a device has nothing else, as far as is known.
    """
    signed = DeviceCertificate.objects.signed_by(authority.key_identifier)
    needed = signed.active()
    if not unconfirmed:
        needed = signed.filter(status=DeviceCertificate.Status.ACTIVE)
    count = needed.count()
    if count:
        raise NotReadyForRotation(
            f"{count} certificates of the CA are valid still, and in use: nothing is done."
        )


def end_former(
    authority: CertificateAuthority,
    service: CertificateManagementService,
    *,
    unconfirmed: bool,
    now: datetime,
) -> Iterator[DeviceCertificate]:
    """Revoke what no device needs of a former CA, list it, and retire the CA.

    Killed in between, the same once more does the rest.

    Args:
        unconfirmed: revoke those too whose device has not confirmed its successor.

    Raises:
        NotReadyForRotation: before anything is done, when devices need it.
    """
    see_that_no_device_needs(authority, unconfirmed=unconfirmed)
    for row in unneeded(authority, unconfirmed=unconfirmed).iterator():
        yield service.revoke_certificate(
            row, reason=DeviceCertificate.Reason.SUPERSEDED, now=now
        )
    revocation_lists.rebuild_due(service.ca, now=now)
    retire(key_identifier=authority.key_identifier, now=now)


def unneeded(
    authority: CertificateAuthority, *, unconfirmed: bool
) -> CertificateQuerySet:
    """What is valid of a former CA and has a successor, confirmed or not."""
    signed = DeviceCertificate.objects.signed_by(authority.key_identifier).unended()
    ended: CertificateQuerySet = signed.exclude(pk__in=signed.active().values("pk"))
    if not unconfirmed:
        ended = ended.filter(status=DeviceCertificate.Status.SUPERSEDED)
    return ended
