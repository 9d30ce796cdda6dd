"""What the authority signs: its own certificate, and those of devices."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certificates.pki.errors import BadAuthority
from certificates.pki.keys import DevicePublicKey, IssuerPrivateKey
from certificates.pki.serials import random_serial_number

BACKDATE = timedelta(minutes=5)  # clocks in the field are late
SECOND = timedelta(seconds=1)  # a validity includes both its ends (RFC 5280 §4.1.2.5)


@dataclass(frozen=True, slots=True)
class Issuer:
    """A CA certificate with the private key that signs for it, and what is above it."""

    certificate: x509.Certificate
    key: IssuerPrivateKey
    chain: tuple[x509.Certificate, ...]  # from the CA certificate upwards

    @property
    def key_identifier(self) -> bytes:
        extension = self.certificate.extensions.get_extension_for_class(
            x509.SubjectKeyIdentifier
        )
        return extension.value.digest


def self_signed_authority(
    *,
    key: IssuerPrivateKey,
    common_name: str,
    organization: str,
    country: str,
    now: datetime,
    lifetime: timedelta,
) -> x509.Certificate:
    """A root that issues device certificates itself.

    Profile, by section of RFC 5280:
        4.2.1.2   subject key identifier: SHA-1 of the key (method 1)
        4.2.1.3   key usage: keyCertSign and cRLSign only (critical)
        4.2.1.9   basic constraints: a CA with no CA below it (critical)
    """
    _check(now, lifetime)
    name = _name(common_name, organization, country)
    begin = now.replace(microsecond=0) - BACKDATE
    builder = (
        x509.CertificateBuilder()
        .serial_number(random_serial_number())
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .not_valid_before(begin)
        .not_valid_after(begin + lifetime - SECOND)
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_key_usage(key_cert_sign=True, crl_sign=True), True),
        (identifier, False),
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, _digest_for(key))


def device_certificate(
    *,
    device_id: UUID,
    public_key: DevicePublicKey,
    serial_number: int,
    issuer: Issuer,
    organization: str,
    country: str,
    now: datetime,
    lifetime: timedelta,
) -> x509.Certificate:
    """Sign a TLS client certificate that names a device by its UUID.

    Profile, by section of RFC 5280:
        4.1.2.2   serial number: the reserved one
        4.1.2.5   validity: `lifetime` from a little before now, within the issuer's
        4.1.2.6   subject: CN=Device-{id}, organisation, country
        4.2.1.1   authority key identifier: the issuer's subject key identifier
        4.2.1.2   subject key identifier: SHA-1 of the key (method 1)
        4.2.1.3   key usage: digitalSignature only (critical)
        4.2.1.6   subject alternative name: `urn:uuid:<device_id>` (RFC 9562 §4)
        4.2.1.9   basic constraints: not a CA (critical)
        4.2.1.12  extended key usage: clientAuth

    Raises:
        ValueError: `now` is naive, `lifetime` is not positive.
        BadAuthority: the issuer is not valid at `now`.
    """
    _check(now, lifetime)
    ca = issuer.certificate
    if not ca.not_valid_before_utc <= now < ca.not_valid_after_utc:
        raise BadAuthority("the CA certificate is not valid now")
    begin = max(now.replace(microsecond=0) - BACKDATE, ca.not_valid_before_utc)
    builder = (
        x509.CertificateBuilder()
        .serial_number(serial_number)
        .subject_name(_name(f"Device-{device_id}", organization, country))
        .issuer_name(ca.subject)
        .public_key(public_key)
        .not_valid_before(begin)
        .not_valid_after(min(begin + lifetime - SECOND, ca.not_valid_after_utc))
    )
    for extension, critical in _device_extensions(device_id, public_key, issuer):
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer.key, _digest_for(issuer.key))


def signed_by(certificate: x509.Certificate, issuer: Issuer) -> bool:
    """Whether this CA's key made the certificate's signature and its name stands on it."""
    try:
        certificate.verify_directly_issued_by(issuer.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def check_authority(
    chain: tuple[x509.Certificate, ...], key: IssuerPrivateKey
) -> Issuer:
    """A key and a chain that together can issue: the CA's certificate comes first.

    Raises:
        BadAuthority: they do not belong together, or the certificate is not a CA's.
    """
    if not chain:
        raise BadAuthority("the chain holds no certificate")
    ca = chain[0]
    if ca.public_key() != key.public_key():
        raise BadAuthority("the first certificate of the chain is not the key's")
    try:
        constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = ca.extensions.get_extension_for_class(x509.KeyUsage).value
        ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound as error:
        raise BadAuthority(f"the CA certificate has no {error.oid._name}") from error
    if not (constraints.ca and usage.key_cert_sign):
        raise BadAuthority("the certificate is not that of a CA that may sign others")
    for lower, upper in pairwise(chain):
        if lower.issuer != upper.subject:
            raise BadAuthority("the chain is not in order, each followed by its issuer")
    return Issuer(certificate=ca, key=key, chain=chain)


def _device_extensions(
    device_id: UUID, public_key: DevicePublicKey, issuer: Issuer
) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
        issuer.certificate.extensions.get_extension_for_class(
            x509.SubjectKeyIdentifier
        ).value
    )
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(device_id.urn)])
    return (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(digital_signature=True), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        (names, False),
        (x509.SubjectKeyIdentifier.from_public_key(public_key), False),
        (issuer_key, False),
    )


def _key_usage(
    *,
    digital_signature: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
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


def _name(common_name: str, organization: str, country: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COUNTRY_NAME, country),
        ]
    )


def _digest_for(key: IssuerPrivateKey) -> hashes.SHA256 | hashes.SHA384:
    if isinstance(key, rsa.RSAPrivateKey) or key.curve.key_size <= 256:
        return hashes.SHA256()
    return hashes.SHA384()


def _check(now: datetime, lifetime: timedelta) -> None:
    if now.tzinfo is None:
        raise ValueError("now must be time zone aware")
    if lifetime <= timedelta(0):
        raise ValueError("lifetime must be positive")
