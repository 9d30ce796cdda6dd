"""A certificate authority that can sign: its certificate, private key and chain."""

from dataclasses import dataclass
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from certificates.pki.errors import BadAuthority, BadCertificate
from certificates.pki.keys import IssuerPrivateKey


@dataclass(frozen=True, slots=True)
class Issuer:
    """A CA certificate with its private key and its certificate chain."""

    certificate: x509.Certificate
    key: IssuerPrivateKey
    chain: tuple[x509.Certificate, ...]  # the CA certificate first, the root last

    @property
    def key_identifier(self) -> bytes:
        return key_identifier(self.certificate)

    @property
    def authority_key_identifier(self) -> x509.AuthorityKeyIdentifier:
        """The authority key identifier extension of everything that this CA signs.

        It repeats the subject key identifier of the CA certificate. It is not computed
        from the key, because the two values can differ.
        """
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
            _subject_key_identifier(self.certificate)
        )


@dataclass(frozen=True, slots=True)
class Addresses:
    """The URLs in a certificate at which verifiers get its CRL, issuer certificate and status.

    The URLs are plain HTTP, so that verifying one certificate never requires verifying
    another one first (RFC 5280 §8).

    Attributes:
        crl: the CRL distribution point (§4.2.1.13).
        issuer: the issuer's certificate in DER (§4.2.2.1).
        ocsp: the OCSP responder; None if there is none.
    """

    crl: str
    issuer: str
    ocsp: str | None = None


def parse_certificate(pem: str) -> x509.Certificate:
    """Parse an untrusted certificate in PEM.

    Raises:
        BadCertificate: the text is not a certificate, or its serial number is not
            positive.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        is_positive = certificate.serial_number > 0
    except (ValueError, TypeError, x509.InvalidVersion) as error:
        raise BadCertificate("it is not a readable certificate in PEM") from error
    if not is_positive:
        raise BadCertificate("its serial number is not positive")
    return certificate


def key_identifier(certificate: x509.Certificate) -> bytes:
    """Return the subject key identifier of a certificate.

    Some old roots do not contain this extension. For these, compute the identifier from the
    key with method 1 of RFC 5280 §4.2.1.2.
    """
    try:
        return _subject_key_identifier(certificate).digest
    except x509.ExtensionNotFound:
        computed = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
        return computed.digest


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return True if the certificate names `issuer` as its issuer and `issuer` signed it."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def check_authority(chain: tuple[x509.Certificate, ...], key: IssuerPrivateKey) -> Issuer:
    """Check that a CA with the given chain and key can issue certificates.

    Args:
        chain: the CA certificates. The CA's own comes first, each followed by its issuer.

    Raises:
        BadAuthority: the key does not belong to the CA certificate, the chain is not in
            order, or the certificate is not that of a CA.
    """
    if not chain:
        raise BadAuthority("the chain contains no certificate")
    ca = chain[0]
    if ca.public_key() != key.public_key():
        raise BadAuthority("the first certificate of the chain does not match the key")
    _check_may_sign(ca)
    for certificate, issuer in pairwise(chain):
        if not is_issued_by(certificate, issuer):
            raise BadAuthority(
                "the chain is not in order: each certificate must be followed by its issuer"
            )
    return Issuer(certificate=ca, key=key, chain=chain)


def _check_may_sign(ca: x509.Certificate) -> None:
    try:
        constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = ca.extensions.get_extension_for_class(x509.KeyUsage).value
        ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound as error:
        raise BadAuthority(f"the CA certificate has no {error.oid._name}") from error
    if not (constraints.ca and usage.key_cert_sign):
        raise BadAuthority(
            "the certificate is not that of a CA: it needs CA basic constraints and "
            "the key usage keyCertSign"
        )
    if not usage.crl_sign:
        raise BadAuthority("the CA certificate lacks the key usage cRLSign")


def _subject_key_identifier(certificate: x509.Certificate) -> x509.SubjectKeyIdentifier:
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
