"""Which authority signs, which are trusted, and how one takes over from another."""

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings
from django.db import connection, transaction

from certificates import queries
from certificates.errors import (
    AuthorityUnavailable,
    NoAuthority,
)
from certificates.models import (
    CertificateAuthority,
    DeviceCertificate,
    RevocationList,
)
from certificates.models.revocation_list import shard_address
from certificates.pki import keys
from certificates.pki.issuer import Addresses, Issuer, key_identifier, signed_by
from certificates.services import authority_files
from certificates.services.device_certificates import DeviceCertificatesService

Level, Status = CertificateAuthority.Level, CertificateAuthority.Status


_chains: dict[str, str] = {}  # by key identifier; what it names never changes


@dataclass(frozen=True, slots=True)
class Signing:
    """The authority that signs a certificate now, and the shard the certificate is in."""

    issuer: Issuer
    list_id: int
    addresses: Addresses


def signing(
    ca: DeviceCertificatesService, *, serial_number: int, now: datetime
) -> Signing:
    """Who signs the certificate with this serial number, which chooses its shard.

    Raises:
        AuthorityUnavailable: see `signing_issuer`.
    """
    host, slot = settings.PKI_URL, serial_number % settings.CRL_SHARDS
    found = queries.signing_place(host, slot)
    if found is None:
        adopt(ca, now=now)
        found = queries.signing_place(host, slot)
    if found is not None and found[2] is None:
        _open_shard(found[0], host, slot)
        found = queries.signing_place(host, slot)
    assert found is not None
    _, identifier, list_id = found
    assert list_id is not None
    return Signing(
        issuer=ca.issuer(identifier),
        list_id=list_id,
        addresses=Addresses(
            crl=shard_address(host, list_id),
            issuer=authority_files.public_address(f"authorities/{identifier}.cer"),
            ocsp=authority_files.public_address("ocsp"),
        ),
    )


def signing_issuer(ca: DeviceCertificatesService, *, now: datetime) -> Issuer:
    """The authority that signs; made at first use, and never instead of a lost one.

    Raises:
        AuthorityUnavailable: its files are gone, are another CA's, or unusable.
    """
    return ca.issuer(signing_row(ca, now=now).key_identifier)


def signing_row(
    ca: DeviceCertificatesService, *, now: datetime
) -> CertificateAuthority:
    """The record of the authority that signs; its key need not be at hand.

    Raises:
        AuthorityUnavailable: there is none yet, and none can be made.
    """
    row: CertificateAuthority | None = CertificateAuthority.objects.signing().first()
    return row or adopt(ca, now=now)


@transaction.atomic
def adopt(ca: DeviceCertificatesService, *, now: datetime) -> CertificateAuthority:
    """Record the authority that lies in the files; on first use it is made.

    Raises:
        AuthorityUnavailable: see `signing_issuer`.
    """
    alone()
    row: CertificateAuthority | None = CertificateAuthority.objects.signing().first()
    if row is not None:
        return row
    if not ca.exists() and DeviceCertificate.objects.exists():
        raise AuthorityUnavailable(
            "The files of the CA that signed so far are not there: restore them."
        )
    issuer = ca.initialize_ca(now=now)
    identifier = issuer.key_identifier.hex()
    signed = DeviceCertificate.objects.signed()
    if signed.exists() and not signed.signed_by(identifier).exists():
        raise AuthorityUnavailable(
            "The CA's files are not those of the CA that signed so far."
        )
    row = recorded(issuer, Status.SIGNING, now)
    record_above(issuer.chain[1:], now)
    return row


def issuer_of(certificate: x509.Certificate) -> CertificateAuthority | None:
    """The trusted authority that a certificate says it is from; its word alone."""
    try:
        said = certificate.extensions.get_extension_for_class(
            x509.AuthorityKeyIdentifier
        ).value.key_identifier
    except (ValueError, x509.ExtensionNotFound):
        return None
    trusted = CertificateAuthority.objects.trusted().issuing()
    row: CertificateAuthority | None = trusted.identified((said or b"").hex()).first()
    return row


def is_ours(certificate: x509.Certificate) -> bool:
    """Whether a trusted authority of ours signed it."""
    row = issuer_of(certificate)
    return row is not None and signed_by(certificate, row.certificate())


def below(root: CertificateAuthority) -> list[CertificateAuthority]:
    """The issuing authorities that stand below another, retired ones too."""
    own = root.certificate()
    issuing = CertificateAuthority.objects.issuing()
    return [row for row in issuing if own in row.certificates()[1:]]


def chain_of(key_identifier: str) -> str:
    """An authority's own certificate and those above it, in PEM.

    Raises:
        NoAuthority: there is none with this key identifier.
    """
    chain = _chains.get(key_identifier)
    if chain is None:
        row = CertificateAuthority.objects.identified(key_identifier).first()
        if row is None:
            raise NoAuthority
        chain = _chains[key_identifier] = row.chain
    return chain


def chain_certificates(key_identifier: str) -> list[x509.Certificate]:
    """The same, parsed."""
    return x509.load_pem_x509_certificates(chain_of(key_identifier).encode())


def trusted_certificates() -> list[x509.Certificate]:
    """What whoever verifies our devices should trust: the new, the old, and their roots."""
    found: dict[bytes, x509.Certificate] = {}
    for row in CertificateAuthority.objects.trusted().order_by("-status", "pk"):
        for certificate in row.certificates():
            found.setdefault(certificate.public_bytes(Encoding.DER), certificate)
    return list(found.values())


def recorded(issuer: Issuer, status: str, now: datetime) -> CertificateAuthority:
    """Write an authority down, and open its complete list."""
    row = _row(issuer.chain, Level.ISSUING, status, now)
    row.signing_since = now if status == Status.SIGNING else None
    row.save(force_insert=True)
    RevocationList.objects.create(authority=row)
    return row


def record_above(chain: tuple[x509.Certificate, ...], now: datetime) -> None:
    """The roots, which sign no devices but have a list of their own."""
    for level, certificate in enumerate(chain):
        known = CertificateAuthority.objects.identified(
            key_identifier(certificate).hex()
        )
        if not known.exists():
            row = _row(chain[level:], Level.ROOT, Status.TRUSTED, now)
            row.save(force_insert=True)
            RevocationList.objects.create(authority=row)


def _row(
    chain: tuple[x509.Certificate, ...], level: str, status: str, now: datetime
) -> CertificateAuthority:
    own = chain[0]
    return CertificateAuthority(
        key_identifier=key_identifier(own).hex(),
        level=level,
        status=status,
        subject=own.subject.rfc4514_string()[:255],
        public_key_digest=keys.public_digest(own.public_key()),
        chain="".join(part.public_bytes(Encoding.PEM).decode() for part in chain),
        not_before=own.not_valid_before_utc,
        not_after=own.not_valid_after_utc,
        created_at=now,
    )


def _open_shard(authority_id: int, host: str, slot: int) -> None:
    RevocationList.objects.bulk_create(
        [RevocationList(authority_id=authority_id, host=host, slot=slot)],
        ignore_conflicts=True,
    )


def alone() -> None:
    """One change of authorities at a time, among all processes of all hosts."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('ca', 0))")
