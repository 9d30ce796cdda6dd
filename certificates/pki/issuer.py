"""A certificate authority that can sign: its certificate, its key, what is above it."""

from dataclasses import dataclass
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from certificates.pki.errors import BadAuthority, BadCertificate
from certificates.pki.keys import IssuerPrivateKey


@dataclass(frozen=True, slots=True)
class Issuer:
    """A CA certificate with the private key that signs for it, and what is above it."""

    certificate: x509.Certificate
    key: IssuerPrivateKey
    chain: tuple[x509.Certificate, ...]  # from the CA certificate upwards

    @property
    def key_identifier(self) -> bytes:
        return key_identifier(self.certificate)

    @property
    def authority_key_identifier(self) -> x509.AuthorityKeyIdentifier:
        """As what it signs names it: the value of its own extension, not one made anew."""
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
            _subject_key_identifier(self.certificate)
        )


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where verifiers find what they need about a certificate; plain http, so that no
    verification needs another one first (RFC 5280 §8).

    Attributes:
        crl: the one distribution point (§4.2.1.13).
        issuer: the issuer's certificate in DER (§4.2.2.1).
        ocsp: the responder; None where there is none.
    """

    crl: str
    issuer: str
    ocsp: str | None = None


def presented(pem: str) -> x509.Certificate:
    """A certificate that somebody shows.

    Raises:
        BadCertificate: it is none, or has a serial number that none may have.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        positive = certificate.serial_number > 0
    except (ValueError, TypeError, x509.InvalidVersion) as error:
        raise BadCertificate("not a readable certificate in PEM") from error
    if not positive:
        raise BadCertificate("its serial number is not positive")
    return certificate


def key_identifier(certificate: x509.Certificate) -> bytes:
    """As the certificate says, or as method 1 makes it for one that does not (an old root)."""
    try:
        return _subject_key_identifier(certificate).digest
    except x509.ExtensionNotFound:
        own = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
        return own.digest


def signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether this CA's key made the certificate's signature and its name stands on it."""
    try:
        certificate.verify_directly_issued_by(issuer)
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
    _see_that_it_may_sign(ca)
    for lower, upper in pairwise(chain):
        if not signed_by(lower, upper):
            raise BadAuthority("the chain is not in order, each followed by its issuer")
    return Issuer(certificate=ca, key=key, chain=chain)


def _see_that_it_may_sign(ca: x509.Certificate) -> None:
    try:
        constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = ca.extensions.get_extension_for_class(x509.KeyUsage).value
        ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound as error:
        raise BadAuthority(f"the CA certificate has no {error.oid._name}") from error
    if not (constraints.ca and usage.key_cert_sign):
        raise BadAuthority("the certificate is not that of a CA that may sign others")
    if not usage.crl_sign:
        raise BadAuthority("the CA certificate may not sign revocation lists")


def _subject_key_identifier(certificate: x509.Certificate) -> x509.SubjectKeyIdentifier:
    return certificate.extensions.get_extension_for_class(
        x509.SubjectKeyIdentifier
    ).value
