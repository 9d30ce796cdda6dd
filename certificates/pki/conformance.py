"""Check of a device certificate against the certificate profile.

The check covers fields that TLS verifiers do not check, such as names and whether an
extension is critical.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from certificates.pki.errors import WeakKey
from certificates.pki.issuer import is_issued_by
from certificates.pki.keys import require_acceptable_key

MIN_SERIAL_BITS = 64
MAX_SERIAL_BITS = 159  # with a zero sign bit, twenty octets (RFC 5280 §4.1.2.2)
SIGNATURE_ALGORITHMS = (
    SignatureAlgorithmOID.RSA_WITH_SHA256,
    SignatureAlgorithmOID.ECDSA_WITH_SHA256,
    SignatureAlgorithmOID.ECDSA_WITH_SHA384,
)
CRITICALITY: dict[type[x509.ExtensionType], bool] = {
    x509.BasicConstraints: True,
    x509.KeyUsage: True,
    x509.ExtendedKeyUsage: False,
    x509.SubjectAlternativeName: False,
    x509.SubjectKeyIdentifier: False,
    x509.AuthorityKeyIdentifier: False,
}


def deviations(
    certificate: x509.Certificate, *, issuer: x509.Certificate, device_id: UUID, crl: str | None
) -> Iterator[str]:
    """Yield a description of each difference from the profile of `issuing.device_certificate`.

    Args:
        crl: the address of the certificate's CRL shard; None for a certificate that was
            issued before CRLs were sharded.
    """
    yield from _field_deviations(certificate, issuer)
    if not is_issued_by(certificate, issuer):
        yield "the signature cannot be verified with the issuer's key"
    for extension_type, critical in CRITICALITY.items():
        extension = _extension(certificate, extension_type)
        if extension is None:
            yield f"the extension {extension_type.__name__} is missing"
        elif extension.critical != critical:
            required = "must be" if critical else "must not be"
            yield f"the extension {extension_type.__name__} {required} critical"
    yield from _usage_deviations(certificate)
    yield from _name_deviations(certificate, issuer, device_id)
    if crl is not None and _distribution_points(certificate) != [[crl]]:
        yield "the only CRL distribution point must be the address of the certificate's shard"


def _field_deviations(certificate: x509.Certificate, issuer: x509.Certificate) -> Iterator[str]:
    bits = certificate.serial_number.bit_length()
    expected_size = MIN_SERIAL_BITS <= bits <= MAX_SERIAL_BITS
    if certificate.serial_number <= 0 or not expected_size:
        yield (
            "the serial number is not a positive number of "
            f"{MIN_SERIAL_BITS} to {MAX_SERIAL_BITS} bits"
        )
    if certificate.not_valid_after_utc > issuer.not_valid_after_utc:
        yield "the certificate ends after its issuer's certificate"
    if certificate.signature_algorithm_oid not in SIGNATURE_ALGORITHMS:
        yield "the signature algorithm is not in the profile"
    if certificate.issuer.public_bytes() != issuer.subject.public_bytes():
        yield "the issuer name is not byte for byte equal to the subject of the issuer"
    try:
        require_acceptable_key(certificate.public_key())
    except WeakKey as error:
        yield str(error)


def _usage_deviations(certificate: x509.Certificate) -> Iterator[str]:
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is not None and constraints.value.ca:
        yield "the basic constraints mark it as a CA certificate"
    usage = _extension(certificate, x509.KeyUsage)
    digital_signature_only = x509.KeyUsage(
        True, False, False, False, False, False, False, False, False
    )
    if usage is not None and usage.value != digital_signature_only:
        yield "the key usage is not digitalSignature only"
    purposes = _extension(certificate, x509.ExtendedKeyUsage)
    if purposes is not None and list(purposes.value) != [ExtendedKeyUsageOID.CLIENT_AUTH]:
        yield "the extended key usage is not clientAuth only"


def _name_deviations(
    certificate: x509.Certificate, issuer: x509.Certificate, device_id: UUID
) -> Iterator[str]:
    common_names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    if [name.value for name in common_names] != [f"Device-{device_id}"]:
        yield "the common name is not that of the device"
    names = _extension(certificate, x509.SubjectAlternativeName)
    if names is not None and list(names.value) != [x509.UniformResourceIdentifier(device_id.urn)]:
        yield "the subject alternative name is not the device's UUID"
    authority = _extension(certificate, x509.AuthorityKeyIdentifier)
    issuer_subject = _extension(issuer, x509.SubjectKeyIdentifier)
    if authority is not None and (
        issuer_subject is None or authority.value.key_identifier != issuer_subject.value.digest
    ):
        yield "the authority key identifier is not the issuer's subject key identifier"


def _distribution_points(certificate: x509.Certificate) -> list[list[str]]:
    extension = _extension(certificate, x509.CRLDistributionPoints)
    if extension is None:
        return []
    return [[str(name.value) for name in point.full_name or ()] for point in extension.value]


def _extension(certificate: x509.Certificate, extension_type: type) -> x509.Extension[Any] | None:
    try:
        return certificate.extensions.get_extension_for_class(extension_type)
    except x509.ExtensionNotFound:
        return None
