"""Find the signing CA and the trusted CAs, and create records of CAs."""

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings
from django.db import transaction

from certificates import queries
from certificates.errors import AuthorityUnavailable, NoAuthority
from certificates.models import CertificateAuthority, DeviceCertificate, RevocationList
from certificates.models.revocation_list import shard_address
from certificates.pki import keys
from certificates.pki.issuer import Addresses, Issuer, is_issued_by, key_identifier
from certificates.services import authority_files
from certificates.services.device_certificates import DeviceCertificatesService
from core.locks import transaction_lock
from core.querysets import first_or_raise

Level, Status = CertificateAuthority.Level, CertificateAuthority.Status


_chains: dict[str, str] = {}  # by key identifier; a CA's chain never changes


@dataclass(frozen=True, slots=True)
class SigningContext:
    """The signing CA and the CRL shard for a new certificate.

    Attributes:
        list_id: id of the shard.
        addresses: the URLs to put in the certificate.
    """

    issuer: Issuer
    list_id: int
    addresses: Addresses


def signing_context(
    ca: DeviceCertificatesService, *, serial_number: int, now: datetime
) -> SigningContext:
    """Return the signing CA, and the CRL shard for a certificate with this serial number.

    The shard is created if it does not exist.

    Raises:
        AuthorityUnavailable: see `signing_issuer`.
    """
    host, slot = settings.PKI_URL, serial_number % settings.CRL_SHARDS
    row = queries.signing_authority(host, slot)
    if row is None:
        ensure_recorded(ca, now=now)
        row = queries.signing_authority(host, slot)
    if row is not None and row[2] is None:
        _create_shard(row[0], host, slot)
        row = queries.signing_authority(host, slot)
    assert row is not None
    _, identifier, list_id = row
    assert list_id is not None
    return SigningContext(
        issuer=ca.issuer(identifier),
        list_id=list_id,
        addresses=Addresses(
            crl=shard_address(host, list_id),
            issuer=authority_files.public_address(f"authorities/{identifier}.cer"),
            ocsp=authority_files.public_address("ocsp"),
        ),
    )


def signing_issuer(ca: DeviceCertificatesService, *, now: datetime) -> Issuer:
    """Return the signing CA. It is created on first use. A lost CA is not replaced.

    Raises:
        AuthorityUnavailable: the CA's files are missing, belong to another CA, or cannot be
            used.
    """
    return ca.issuer(signing_row(ca, now=now).key_identifier)


def signing_row(ca: DeviceCertificatesService, *, now: datetime) -> CertificateAuthority:
    """Return the record of the signing CA. If the record exists, the CA's key is not loaded.

    Raises:
        AuthorityUnavailable: there is no record and the CA cannot be created.
    """
    row = CertificateAuthority.objects.signing().first()
    return row or ensure_recorded(ca, now=now)


@transaction.atomic
def ensure_recorded(ca: DeviceCertificatesService, *, now: datetime) -> CertificateAuthority:
    """Return the record of the signing CA.

    If there is no record, create it from the files of the CA. If there are no files
    either, create the CA.

    Raises:
        AuthorityUnavailable: see `signing_issuer`.
    """
    lock_authorities()
    row = CertificateAuthority.objects.signing().first()
    if row is not None:
        return row
    if not ca.exists() and DeviceCertificate.objects.exists():
        raise AuthorityUnavailable(
            "The files of the CA that signed the existing certificates are missing. Restore them."
        )
    issuer = ca.initialize_ca(now=now)
    identifier = issuer.key_identifier.hex()
    signed = DeviceCertificate.objects.signed()
    if signed.exists() and not signed.signed_by(identifier).exists():
        raise AuthorityUnavailable(
            "The CA files are not those of the CA that signed the existing certificates."
        )
    row = record_authority(issuer, Status.SIGNING, now)
    record_roots(issuer.chain[1:], now)
    return row


def claimed_issuer(certificate: x509.Certificate) -> CertificateAuthority | None:
    """Return the trusted CA that a certificate names as its issuer.

    The signature is not verified.
    """
    try:
        key_id = certificate.extensions.get_extension_for_class(
            x509.AuthorityKeyIdentifier
        ).value.key_identifier
    except (ValueError, x509.ExtensionNotFound):
        return None
    trusted = CertificateAuthority.objects.trusted().issuing()
    return trusted.with_key_identifier((key_id or b"").hex()).first()


def is_issued_by_trusted_ca(certificate: x509.Certificate) -> bool:
    """Return True if a trusted CA of this installation signed the certificate."""
    row = claimed_issuer(certificate)
    return row is not None and is_issued_by(certificate, row.certificate())


def subordinates_of(root: CertificateAuthority) -> list[CertificateAuthority]:
    """Return the issuing CAs below another CA, including retired ones."""
    certificate = root.certificate()
    issuing = CertificateAuthority.objects.issuing()
    return [row for row in issuing if certificate in row.certificates()[1:]]


def chain_of(key_identifier: str) -> str:
    """Return a CA's chain in PEM: the CA's own certificate first, the root last.

    Args:
        key_identifier: key identifier of the CA, hex.

    Raises:
        NoAuthority: no CA has this key identifier.
    """
    chain = _chains.get(key_identifier)
    if chain is None:
        row = first_or_raise(
            CertificateAuthority.objects.with_key_identifier(key_identifier), NoAuthority
        )
        chain = _chains[key_identifier] = row.chain
    return chain


def chain_certificates(key_identifier: str) -> list[x509.Certificate]:
    """Return a CA's chain as certificates; see `chain_of`."""
    return x509.load_pem_x509_certificates(chain_of(key_identifier).encode())


def trusted_certificates() -> list[x509.Certificate]:
    """Return the CA certificates that verifiers of device certificates should trust.

    These are the chains of all CAs that are not retired, without duplicates.
    """
    certificates: dict[bytes, x509.Certificate] = {}
    for row in CertificateAuthority.objects.trusted().order_by("-status", "pk"):
        for certificate in row.certificates():
            certificates.setdefault(certificate.public_bytes(Encoding.DER), certificate)
    return list(certificates.values())


def record_authority(issuer: Issuer, status: str, now: datetime) -> CertificateAuthority:
    """Create the record of an issuing CA, and the record of its complete revocation list."""
    row = _row(issuer.chain, Level.ISSUING, status, now)
    row.signing_since = now if status == Status.SIGNING else None
    row.save(force_insert=True)
    RevocationList.objects.create(authority=row)
    return row


def record_roots(chain: tuple[x509.Certificate, ...], now: datetime) -> None:
    """Create the records of the CAs above an issuing CA, if they do not exist.

    These CAs sign no device certificates but have revocation lists of their own.
    """
    for index, certificate in enumerate(chain):
        existing = CertificateAuthority.objects.with_key_identifier(
            key_identifier(certificate).hex()
        )
        if not existing.exists():
            row = _row(chain[index:], Level.ROOT, Status.TRUSTED, now)
            row.save(force_insert=True)
            RevocationList.objects.create(authority=row)


def _row(
    chain: tuple[x509.Certificate, ...], level: str, status: str, now: datetime
) -> CertificateAuthority:
    ca = chain[0]
    return CertificateAuthority(
        key_identifier=key_identifier(ca).hex(),
        level=level,
        status=status,
        subject=ca.subject.rfc4514_string()[:255],
        public_key_digest=keys.public_digest(ca.public_key()),
        chain="".join(item.public_bytes(Encoding.PEM).decode() for item in chain),
        not_before=ca.not_valid_before_utc,
        not_after=ca.not_valid_after_utc,
        created_at=now,
    )


def _create_shard(authority_id: int, host: str, slot: int) -> None:
    RevocationList.objects.bulk_create(
        [RevocationList(authority_id=authority_id, host=host, slot=slot)], ignore_conflicts=True
    )


def lock_authorities() -> None:
    """Lock out other changes of authorities, on all hosts, until the transaction ends."""
    transaction_lock("certificate authorities")
