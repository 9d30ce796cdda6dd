"""Certificate revocation lists, version 2 (RFC 5280 §5)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certificates.pki.issuer import Issuer
from certificates.pki.issuing import SIGNED_WITH


@dataclass(frozen=True, slots=True)
class Entry:
    """One certificate that is not to be trusted; `reason` in the words of RFC 5280."""

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
    """Sign a list; a shard names its distribution point, the complete list none.

    Profile, by section of RFC 5280:
        5.1.2.4, 5   this update and next update, both there, whole seconds
        5.2.1        authority key identifier
        5.2.3        CRL number: the caller's, which only rises
        5.2.5        issuing distribution point (critical) of a shard: its address, byte
                     for byte as the certificates say it, and user certificates only
        5.3.1        reason code, absent for unspecified
    """
    begin = this_update.replace(microsecond=0)
    extensions = [
        _plain(issuer.authority_key_identifier),
        _plain(x509.CRLNumber(number)),
    ]
    if distribution_point is not None:
        scope = _scope(distribution_point)
        extensions.append(x509.Extension(scope.oid, critical=True, value=scope))
    # Given as a list: the builder's own method copies all that it has for each entry.
    builder = x509.CertificateRevocationListBuilder(
        issuer.certificate.subject,
        begin,
        next_update.replace(microsecond=0),
        extensions,
        [_revoked(entry, begin) for entry in entries],
    )
    return builder.sign(issuer.key, SIGNED_WITH)


def is_signed_by(
    signed: x509.CertificateRevocationList, issuer: x509.Certificate
) -> bool:
    """Whether this CA's key made the list's signature and its name stands on it."""
    key = issuer.public_key()
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        return False
    return signed.issuer == issuer.subject and signed.is_signature_valid(key)


def _scope(address: str) -> x509.IssuingDistributionPoint:
    return x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier(address)],
        relative_name=None,
        only_contains_user_certs=True,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )


def _plain(value: x509.ExtensionType) -> x509.Extension[x509.ExtensionType]:
    return x509.Extension(value.oid, critical=False, value=value)


def _revoked(entry: Entry, latest: datetime) -> x509.RevokedCertificate:
    builder = (
        x509.RevokedCertificateBuilder()
        .serial_number(entry.serial_number)
        .revocation_date(min(entry.revoked_at, latest))
    )
    if entry.reason != x509.ReasonFlags.unspecified.value:
        reason = x509.CRLReason(x509.ReasonFlags(entry.reason))
        builder = builder.add_extension(reason, critical=False)
    return builder.build()
