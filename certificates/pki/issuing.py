"""Signing of CA certificates, device certificates and OCSP responder certificates."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from certificates.pki.errors import BadAuthority
from certificates.pki.issuer import Addresses, Issuer
from certificates.pki.keys import DevicePublicKey, IssuerPrivateKey
from certificates.pki.serials import random_serial_number

BACKDATE = timedelta(minutes=5)  # tolerates device clocks that are behind
SECOND = timedelta(seconds=1)  # a validity includes both its ends (RFC 5280 §4.1.2.5)
SIGNATURE_HASH = hashes.SHA256()

Extensions = Iterable[tuple[x509.ExtensionType, bool]]  # (extension, critical)


def self_signed_authority(
    *,
    key: IssuerPrivateKey,
    subject: x509.Name,
    path_length: int,
    now: datetime,
    lifetime: timedelta,
) -> x509.Certificate:
    """Sign a root certificate.

    Args:
        path_length: 0 if the root issues to devices, 1 if it issues to CAs.

    Profile, by section of RFC 5280:
        4.2.1.2   subject key identifier: SHA-1 of the key (method 1)
        4.2.1.3   key usage: keyCertSign and cRLSign only (critical)
        4.2.1.9   basic constraints: a CA, with `path_length` (critical)

    Raises:
        ValueError: `now` is naive, or `lifetime` is not positive.
    """
    _check_validity(now, lifetime)
    begin = now.replace(microsecond=0) - BACKDATE
    builder = (
        x509.CertificateBuilder()
        .serial_number(random_serial_number())
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .not_valid_before(begin)
        .not_valid_after(begin + lifetime - SECOND)
    )
    extensions = _ca_extensions(key.public_key(), path_length)
    return _with_extensions(builder, extensions).sign(key, SIGNATURE_HASH)


def subordinate_authority(
    *,
    public_key: DevicePublicKey,
    subject: x509.Name,
    issuer: Issuer,
    addresses: Addresses,
    now: datetime,
    lifetime: timedelta,
) -> x509.Certificate:
    """Sign the certificate of an issuing CA below a root. No CA can be below this CA.

    The certificate has the extensions of a root certificate and three others: the authority
    key identifier (§4.2.1.1), the root's one CRL distribution point (§4.2.1.13), and the
    address of the root's certificate (§4.2.2.1).

    Raises:
        ValueError: `now` is naive, or `lifetime` is not positive.
        BadAuthority: the root is not valid at `now`.
    """
    builder = _builder(subject, public_key, random_serial_number(), issuer, now, lifetime)
    extensions = (
        *_ca_extensions(public_key, path_length=0),
        (issuer.authority_key_identifier, False),
        *_address_extensions(addresses),
    )
    return _with_extensions(builder, extensions).sign(issuer.key, SIGNATURE_HASH)


def device_certificate(
    *,
    device_id: UUID,
    public_key: DevicePublicKey,
    serial_number: int,
    issuer: Issuer,
    addresses: Addresses,
    organization: str,
    country: str,
    now: datetime,
    lifetime: timedelta,
) -> x509.Certificate:
    """Sign a TLS client certificate that identifies a device by its UUID.

    Profile, by section of RFC 5280:
        4.1.2.2   serial number: the reserved one
        4.1.2.5   validity: `lifetime`, from `BACKDATE` before now, within the issuer's
        4.1.2.6   subject: CN=Device-{id}, organisation, country
        4.2.1.1   authority key identifier: the issuer's subject key identifier
        4.2.1.2   subject key identifier: SHA-1 of the key (method 1)
        4.2.1.3   key usage: digitalSignature only (critical)
        4.2.1.6   subject alternative name: `urn:uuid:<device_id>` (RFC 9562 §4)
        4.2.1.9   basic constraints: not a CA (critical)
        4.2.1.12  extended key usage: clientAuth
        4.2.1.13  one CRL distribution point with one address: the certificate's shard
        4.2.2.1   authority information access: OCSP, and the issuer's certificate

    Raises:
        ValueError: `now` is naive, or `lifetime` is not positive.
        BadAuthority: the issuer is not valid at `now`.
    """
    subject = subject_name(f"Device-{device_id}", organization, country)
    builder = _builder(subject, public_key, serial_number, issuer, now, lifetime)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(device_id.urn)])
    extensions = (
        *_end_entity_extensions(public_key, ExtendedKeyUsageOID.CLIENT_AUTH),
        (issuer.authority_key_identifier, False),
        (names, False),
        *_address_extensions(addresses),
    )
    return _with_extensions(builder, extensions).sign(issuer.key, SIGNATURE_HASH)


def responder_certificate(
    *,
    public_key: DevicePublicKey,
    subject: x509.Name,
    serial_number: int,
    issuer: Issuer,
    now: datetime,
    lifetime: timedelta,
) -> x509.Certificate:
    """Sign the certificate of a delegated OCSP responder (RFC 6960 §4.2.2.2).

    Clients cannot check by OCSP whether the responder itself was revoked. Therefore, the
    certificate has the extension `id-pkix-ocsp-nocheck` (§4.2.2.2.1), is valid for days
    only, and contains no CRL or OCSP address.

    Raises:
        ValueError: `now` is naive, or `lifetime` is not positive.
        BadAuthority: the issuer is not valid at `now`.
    """
    builder = _builder(subject, public_key, serial_number, issuer, now, lifetime)
    extensions = (
        *_end_entity_extensions(public_key, ExtendedKeyUsageOID.OCSP_SIGNING),
        (issuer.authority_key_identifier, False),
        (x509.OCSPNoCheck(), False),
    )
    return _with_extensions(builder, extensions).sign(issuer.key, SIGNATURE_HASH)


def subject_name(common_name: str, organization: str, country: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COUNTRY_NAME, country),
        ]
    )


def _builder(
    subject: x509.Name,
    public_key: DevicePublicKey,
    serial_number: int,
    issuer: Issuer,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    """Return a builder with the fields of a certificate that `issuer` signs.

    The validity period of the certificate lies within that of the issuer.
    """
    _check_validity(now, lifetime)
    ca = issuer.certificate
    if not ca.not_valid_before_utc <= now < ca.not_valid_after_utc:
        raise BadAuthority("the CA certificate is not valid now")
    begin = max(now.replace(microsecond=0) - BACKDATE, ca.not_valid_before_utc)
    return (
        x509.CertificateBuilder()
        .serial_number(serial_number)
        .subject_name(subject)
        .issuer_name(ca.subject)
        .public_key(public_key)
        .not_valid_before(begin)
        .not_valid_after(min(begin + lifetime - SECOND, ca.not_valid_after_utc))
    )


def _with_extensions(
    builder: x509.CertificateBuilder, extensions: Extensions
) -> x509.CertificateBuilder:
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder


def _ca_extensions(public_key: DevicePublicKey, path_length: int) -> Extensions:
    return (
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (_key_usage(key_cert_sign=True, crl_sign=True), True),
        (x509.SubjectKeyIdentifier.from_public_key(public_key), False),
    )


def _end_entity_extensions(
    public_key: DevicePublicKey, purpose: x509.ObjectIdentifier
) -> Extensions:
    return (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(digital_signature=True), True),
        (x509.ExtendedKeyUsage([purpose]), False),
        (x509.SubjectKeyIdentifier.from_public_key(public_key), False),
    )


def _address_extensions(addresses: Addresses) -> Extensions:
    access = [
        x509.AccessDescription(
            AuthorityInformationAccessOID.CA_ISSUERS,
            x509.UniformResourceIdentifier(addresses.issuer),
        )
    ]
    if addresses.ocsp is not None:
        responder = x509.UniformResourceIdentifier(addresses.ocsp)
        access.insert(0, x509.AccessDescription(AuthorityInformationAccessOID.OCSP, responder))
    point = x509.DistributionPoint(
        full_name=[x509.UniformResourceIdentifier(addresses.crl)],
        relative_name=None,
        reasons=None,
        crl_issuer=None,
    )
    return (
        (x509.CRLDistributionPoints([point]), False),
        (x509.AuthorityInformationAccess(access), False),
    )


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _check_validity(now: datetime, lifetime: timedelta) -> None:
    if now.tzinfo is None:
        raise ValueError("now must be time zone aware")
    if lifetime <= timedelta(0):
        raise ValueError("lifetime must be positive")
