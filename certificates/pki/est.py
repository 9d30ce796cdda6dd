"""What travels in Enrollment over Secure Transport (RFC 7030; encoding as in RFC 8951)."""

import base64
import binascii
import re
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurveOID
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import PublicKeyAlgorithmOID, SignatureAlgorithmOID

from certificates.pki.csr import LONGEST, UNREADABLE
from certificates.pki.errors import BadRequest

_BASE64 = re.compile(rb"[A-Za-z0-9+/=\s]*")


def certs_only(certificates: Iterable[x509.Certificate]) -> bytes:
    """Certificates in a CMS message without content or signers (RFC 7030 §4.1.3).

    In base64 without line breaks (RFC 8951 §3.1): there are clients that stumble on one.
    """
    der = pkcs7.serialize_certificates(list(certificates), Encoding.DER)
    return base64.b64encode(der)


def csr_pem(body: bytes) -> str:
    """The request in an enrollment's body, which is base64 of DER, as PEM.

    Some clients send PEM all the same; it is taken.

    Raises:
        BadRequest: it is neither.
    """
    if len(body) > LONGEST:
        raise BadRequest("the request is too long")
    if body.lstrip().startswith(b"-----BEGIN"):
        return body.decode("latin-1")
    if not _BASE64.fullmatch(body):
        raise BadRequest("the body is not base64")
    try:
        request = x509.load_der_x509_csr(base64.b64decode(body))
        return request.public_bytes(Encoding.PEM).decode()
    except (*UNREADABLE, binascii.Error) as error:
        raise BadRequest("the body is not a PKCS #10 request in base64") from error


def names_differ(csr: str, certificate: x509.Certificate) -> str | None:
    """What a request to re-enroll says otherwise than the certificate (RFC 7030 §4.2.2).

    Its subject must be the certificate's, and so must the alternative names, if it
    has any; None when they are.

    Raises:
        BadRequest: it is no request.
    """
    try:
        request = x509.load_pem_x509_csr(csr.encode())
        if request.subject != certificate.subject:
            return "subject"
        wanted = _alternative_names(request)
    except UNREADABLE as error:
        raise BadRequest("not a readable PKCS #10 request") from error
    if wanted is not None and wanted != _alternative_names(certificate):
        return "subjectAltName"
    return None


def _alternative_names(
    holder: x509.CertificateSigningRequest | x509.Certificate,
) -> x509.SubjectAlternativeName | None:
    try:
        return holder.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except x509.ExtensionNotFound:
        return None


@asn1.sequence
class _KeyAttribute:
    """Attribute ::= SEQUENCE { type OBJECT IDENTIFIER, values SET OF … }"""

    type: x509.ObjectIdentifier
    values: asn1.SetOf[x509.ObjectIdentifier]


@asn1.sequence
class _Wishes:
    """CsrAttrs ::= SEQUENCE OF AttrOrOID (RFC 7030 §4.5.2), as we have it."""

    key: _KeyAttribute
    signature: x509.ObjectIdentifier


def csr_attributes() -> bytes:
    """What a request should have: a key on P-256 or P-384, signed with SHA-256."""
    wishes = _Wishes(
        key=_KeyAttribute(
            type=PublicKeyAlgorithmOID.EC_PUBLIC_KEY,
            values=asn1.SetOf([EllipticCurveOID.SECP256R1, EllipticCurveOID.SECP384R1]),
        ),
        signature=SignatureAlgorithmOID.ECDSA_WITH_SHA256,
    )
    return base64.b64encode(asn1.encode_der(wishes))
