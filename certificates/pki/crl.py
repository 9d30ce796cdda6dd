"""Signing and verification of certificate revocation lists, version 2 (RFC 5280 §5)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certificates.pki.issuer import Issuer
from certificates.pki.issuing import SIGNATURE_HASH


@dataclass(frozen=True, slots=True)
class Entry:
    """One revoked certificate. `reason` is a reason code name of RFC 5280, §5.3.1."""

    serial_number: int
    revoked_at: datetime
    reason: str


def revocation_list(
    *,
    issuer: Issuer,
    number: int,
    entries: Iterable[Entry],
    distribution_point: str | None,
    this_update: datetime,
    next_update: datetime,
) -> x509.CertificateRevocationList:
    """Sign a revocation list.

    Args:
        number: the CRL number; the caller must increase it with every build.
        distribution_point: the address of the shard to sign; None for a complete list.

    Profile, by section of RFC 5280:
        5.1.2.4, 5   thisUpdate and nextUpdate, both present, in whole seconds
        5.2.1        authority key identifier
        5.2.3        CRL number
        5.2.5        issuing distribution point (critical), in shards only: the address
                     byte for byte as in the certificates; user certificates only
        5.3.1        reason code, absent for unspecified
    """
    begin = this_update.replace(microsecond=0)
    extensions = [
        _not_critical(issuer.authority_key_identifier),
        _not_critical(x509.CRLNumber(number)),
    ]
    if distribution_point is not None:
        scope = _issuing_distribution_point(distribution_point)
        extensions.append(x509.Extension(scope.oid, critical=True, value=scope))
    # Pass all entries at once: `add_revoked_certificate` copies the whole list each time.
    builder = x509.CertificateRevocationListBuilder(
        issuer.certificate.subject,
        begin,
        next_update.replace(microsecond=0),
        extensions,
        [_revoked_certificate(entry, begin) for entry in entries],
    )
    return builder.sign(issuer.key, SIGNATURE_HASH)


def is_signed_by(revocation_list: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    """Return True if the list names the given CA as its issuer and the CA's signature is valid."""
    key = issuer.public_key()
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        return False
    return revocation_list.issuer == issuer.subject and revocation_list.is_signature_valid(key)


def _issuing_distribution_point(address: str) -> x509.IssuingDistributionPoint:
    return x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier(address)],
        relative_name=None,
        only_contains_user_certs=True,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )


def _not_critical(value: x509.ExtensionType) -> x509.Extension[x509.ExtensionType]:
    return x509.Extension(value.oid, critical=False, value=value)


def _revoked_certificate(entry: Entry, latest: datetime) -> x509.RevokedCertificate:
    builder = (
        x509.RevokedCertificateBuilder()
        .serial_number(entry.serial_number)
        .revocation_date(min(entry.revoked_at, latest))
    )
    if entry.reason != x509.ReasonFlags.unspecified.value:
        reason = x509.CRLReason(x509.ReasonFlags(entry.reason))
        builder = builder.add_extension(reason, critical=False)
    return builder.build()
