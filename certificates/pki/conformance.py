"""Whether a device certificate is what the profile says, in the lines no verifier reads."""

from collections.abc import Iterator
from uuid import UUID

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from certificates.pki.errors import WeakKey
from certificates.pki.issuer import signed_by
from certificates.pki.keys import acceptable

LEAST_SERIAL_BITS = 64
MOST_SERIAL_BITS = 159  # with a positive sign bit, twenty octets (RFC 5280 §4.1.2.2)
SIGNATURES = (
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
    certificate: x509.Certificate,
    *,
    issuer: x509.Certificate,
    device_id: UUID,
    crl: str | None,
) -> Iterator[str]:
    """Every line in which a device certificate differs from `issuing.device_certificate`.

    Args:
        crl: the address of its shard; None for a certificate from before there were any.
    """
    yield from _of_the_body(certificate, issuer)
    if not signed_by(certificate, issuer):
        yield "the signature is not its issuer's"
    for kind, critical in CRITICALITY.items():
        found = _extension(certificate, kind)
        if found is None:
            yield f"there is no {kind.__name__}"
        elif found.critical != critical:
            yield f"{kind.__name__} is {'' if critical else 'not to be '}critical"
    yield from _of_the_rights(certificate)
    yield from _of_the_names(certificate, issuer, device_id)
    if crl is not None and _distribution_points(certificate) != [[crl]]:
        yield "the distribution point is not its shard's alone"


def _of_the_body(
    certificate: x509.Certificate, issuer: x509.Certificate
) -> Iterator[str]:
    bits = certificate.serial_number.bit_length()
    random = LEAST_SERIAL_BITS <= bits <= MOST_SERIAL_BITS
    if certificate.serial_number <= 0 or not random:
        yield "the serial number is not a random one"
    if certificate.not_valid_after_utc > issuer.not_valid_after_utc:
        yield "it outlives its issuer"
    if certificate.signature_algorithm_oid not in SIGNATURES:
        yield "the signature's algorithm is not one that is used here"
    if certificate.issuer.public_bytes() != issuer.subject.public_bytes():
        yield "the issuer's name is not its subject byte for byte"
    try:
        acceptable(certificate.public_key())
    except WeakKey as error:
        yield str(error)


def _of_the_rights(certificate: x509.Certificate) -> Iterator[str]:
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is not None and constraints.value.ca:
        yield "it may sign others"
    usage = _extension(certificate, x509.KeyUsage)
    only_signs = x509.KeyUsage(
        True, False, False, False, False, False, False, False, False
    )
    if usage is not None and usage.value != only_signs:
        yield "the key may do more than sign"
    purposes = _extension(certificate, x509.ExtendedKeyUsage)
    if purposes is not None and list(purposes.value) != [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]:
        yield "the purpose is not TLS client authentication alone"


def _of_the_names(
    certificate: x509.Certificate, issuer: x509.Certificate, device_id: UUID
) -> Iterator[str]:
    common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    if [part.value for part in common] != [f"Device-{device_id}"]:
        yield "the common name is not the device's"
    names = _extension(certificate, x509.SubjectAlternativeName)
    if names is not None and list(names.value) != [
        x509.UniformResourceIdentifier(device_id.urn)
    ]:
        yield "the alternative name is not the device's UUID"
    authority = _extension(certificate, x509.AuthorityKeyIdentifier)
    own = _extension(issuer, x509.SubjectKeyIdentifier)
    if authority is not None and (
        own is None or authority.value.key_identifier != own.value.digest
    ):
        yield "the authority key identifier is not its issuer's"


def _distribution_points(certificate: x509.Certificate) -> list[list[str]]:
    found = _extension(certificate, x509.CRLDistributionPoints)
    if found is None:
        return []
    return [
        [str(name.value) for name in point.full_name or ()] for point in found.value
    ]


def _extension(certificate: x509.Certificate, kind: type) -> x509.Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None
