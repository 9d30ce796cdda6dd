"""Message formats of Enrollment over Secure Transport (RFC 7030, encoded as in RFC 8951)."""

import base64
import binascii
import re
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurveOID
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import PublicKeyAlgorithmOID, SignatureAlgorithmOID

from certificates.pki.csr import MAX_LENGTH, PARSE_ERRORS
from certificates.pki.errors import BadRequest

_BASE64 = re.compile(rb"[A-Za-z0-9+/=\s]*")


def certs_only(certificates: Iterable[x509.Certificate]) -> bytes:
    """Return certificates as a CMS message without content or signers (RFC 7030 §4.1.3).

    The message is in base64 without line breaks (RFC 8951 §3.1), because some clients
    fail to parse line breaks.
    """
    der = pkcs7.serialize_certificates(list(certificates), Encoding.DER)
    return base64.b64encode(der)


def csr_pem(body: bytes) -> str:
    """Return the CSR in an enrollment body as PEM.

    The body is the CSR in DER, encoded in base64. PEM is accepted too, because some clients
    send it.

    Raises:
        BadRequest: the body is not a CSR in one of these formats.
    """
    if len(body) > MAX_LENGTH:
        raise BadRequest(f"it is longer than {MAX_LENGTH} characters")
    if body.lstrip().startswith(b"-----BEGIN"):
        return body.decode("latin-1")
    if not _BASE64.fullmatch(body):
        raise BadRequest("the body is not base64")
    try:
        request = x509.load_der_x509_csr(base64.b64decode(body))
        return request.public_bytes(Encoding.PEM).decode()
    except (*PARSE_ERRORS, binascii.Error) as error:
        raise BadRequest("the body is not a PKCS #10 request in base64") from error


def differing_name(csr: str, certificate: x509.Certificate) -> str | None:
    """Return which name in a re-enrollment CSR differs from that in the certificate.

    The subject must be that of the certificate. If the CSR has subject alternative names,
    they must be those of the certificate too (RFC 7030 §4.2.2).

    Returns:
        "subject", "subjectAltName", or None if the names are the same.

    Raises:
        BadRequest: the text is not a CSR.
    """
    try:
        request = x509.load_pem_x509_csr(csr.encode())
        if request.subject != certificate.subject:
            return "subject"
        requested = _alternative_names(request)
    except PARSE_ERRORS as error:
        raise BadRequest("it is not a readable PKCS #10 request") from error
    if requested is not None and requested != _alternative_names(certificate):
        return "subjectAltName"
    return None


def _alternative_names(
    source: x509.CertificateSigningRequest | x509.Certificate,
) -> x509.SubjectAlternativeName | None:
    try:
        return source.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


@asn1.sequence
class _KeyAttribute:
    """Attribute ::= SEQUENCE { type OBJECT IDENTIFIER, values SET OF … }"""

    type: x509.ObjectIdentifier
    values: asn1.SetOf[x509.ObjectIdentifier]


@asn1.sequence
class _CsrAttributes:
    """CsrAttrs ::= SEQUENCE OF AttrOrOID (RFC 7030 §4.5.2), with this server's items."""

    key: _KeyAttribute
    signature: x509.ObjectIdentifier


def csr_attributes() -> bytes:
    """Return the recommended CSR attributes (RFC 7030 §4.5.2) in DER, encoded in base64.

    The attributes recommend a key on P-256 or P-384 and a signature with SHA-256.
    """
    attributes = _CsrAttributes(
        key=_KeyAttribute(
            type=PublicKeyAlgorithmOID.EC_PUBLIC_KEY,
            values=asn1.SetOf([EllipticCurveOID.SECP256R1, EllipticCurveOID.SECP384R1]),
        ),
        signature=SignatureAlgorithmOID.ECDSA_WITH_SHA256,
    )
    return base64.b64encode(asn1.encode_der(attributes))
