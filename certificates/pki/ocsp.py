"""Parsing of OCSP requests and signing of responses (RFC 6960, profile of RFC 5019)."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp

from certificates.pki.errors import PkiError
from certificates.pki.issuing import SIGNATURE_HASH
from certificates.pki.keys import DevicePrivateKey

MAX_REQUEST_LENGTH = 2048  # octets; a request has about 120
MAX_NONCE_LENGTH = 128  # octets (RFC 9654 §2.1); a longer nonce is ignored
_HASHES = {
    algorithm.name: algorithm
    for algorithm in (hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512())  # nosec B303 # RFC 6960 clients use it
}


class MalformedRequest(PkiError):
    """The input is not an OCSP request for exactly one certificate."""


class ErrorResponse(Enum):
    """The unsigned error responses (RFC 6960 §2.3)."""

    MALFORMED_REQUEST = ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    INTERNAL_ERROR = ocsp.OCSPResponseStatus.INTERNAL_ERROR
    TRY_LATER = ocsp.OCSPResponseStatus.TRY_LATER
    UNAUTHORIZED = ocsp.OCSPResponseStatus.UNAUTHORIZED

    def der(self) -> bytes:
        response = ocsp.OCSPResponseBuilder.build_unsuccessful(self.value)
        return response.public_bytes(Encoding.DER)


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """An OCSP request for one certificate. The hashes identify the issuer (RFC 6960 §4.1.1)."""

    issuer_name_hash: bytes
    issuer_key_hash: bytes
    algorithm: hashes.HashAlgorithm
    serial_number: int
    nonce: bytes | None

    def names_issuer(self, issuer: x509.Certificate) -> bool:
        """Return True if the request names `issuer` as the issuer of the certificate."""
        hashes_of_issuer = _issuer_hashes(issuer, self.algorithm.name)
        return hashes_of_issuer == (self.issuer_name_hash, self.issuer_key_hash)


@dataclass(frozen=True, slots=True)
class Responder:
    """A delegated responder's key and certificate. The CA it answers for signed the certificate."""

    certificate: x509.Certificate
    key: DevicePrivateKey


@dataclass(frozen=True, slots=True)
class CertificateStatus:
    """The OCSP status of a certificate: good, revoked or unknown."""

    status: ocsp.OCSPCertStatus
    revoked_at: datetime | None = None
    reason: str = ""


GOOD = CertificateStatus(ocsp.OCSPCertStatus.GOOD)
UNKNOWN = CertificateStatus(ocsp.OCSPCertStatus.UNKNOWN)


def revoked(at: datetime, reason: str) -> CertificateStatus:
    return CertificateStatus(ocsp.OCSPCertStatus.REVOKED, at, reason)


def parse(der: bytes) -> StatusRequest:
    """Parse an OCSP request.

    Raises:
        MalformedRequest: the input is not an OCSP request, asks for several
            certificates, or uses an unsupported hash algorithm.
    """
    if len(der) > MAX_REQUEST_LENGTH:
        raise MalformedRequest(f"the request is longer than {MAX_REQUEST_LENGTH} octets")
    try:
        request = ocsp.load_der_ocsp_request(der)
        algorithm = _HASHES.get(request.hash_algorithm.name)
        if algorithm is None:
            raise MalformedRequest("the hash algorithm is not supported")
        if request.serial_number <= 0:
            raise MalformedRequest("the serial number is not positive")
        return StatusRequest(
            request.issuer_name_hash,
            request.issuer_key_hash,
            algorithm,
            request.serial_number,
            _nonce(request),
        )
    except (ValueError, NotImplementedError, UnsupportedAlgorithm) as error:
        raise MalformedRequest("not an OCSP request for one certificate") from error


def sign_response(
    request: StatusRequest,
    status: CertificateStatus,
    *,
    responder: Responder,
    this_update: datetime,
    next_update: datetime,
) -> bytes:
    """Sign an OCSP response (RFC 6960 §4.2.1) and return it in DER.

    The response repeats the issuer hashes and the nonce of the request.
    """
    reason = status.reason
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response_by_hash(
            request.issuer_name_hash,
            request.issuer_key_hash,
            request.serial_number,
            request.algorithm,
            status.status,
            this_update.replace(microsecond=0),
            next_update.replace(microsecond=0),
            status.revoked_at,
            x509.ReasonFlags(reason) if reason not in ("", "unspecified") else None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, responder.certificate)
        .certificates([responder.certificate])
    )
    if request.nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(request.nonce), critical=False)
    return builder.sign(responder.key, SIGNATURE_HASH).public_bytes(Encoding.DER)


def _nonce(request: ocsp.OCSPRequest) -> bytes | None:
    try:
        nonce = request.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
    except x509.ExtensionNotFound:
        return None
    return nonce if 1 <= len(nonce) <= MAX_NONCE_LENGTH else None


@lru_cache(maxsize=64)
def _issuer_hashes(issuer: x509.Certificate, algorithm: str) -> tuple[bytes, bytes]:
    """Return the hash of the issuer's name and the hash of the issuer's key.

    The key is hashed without the tag and the length of its encoding.
    """
    bits = issuer.public_key().public_bytes(*_key_encoding(issuer))
    return _digest(issuer.subject.public_bytes(), algorithm), _digest(bits, algorithm)


def _key_encoding(issuer: x509.Certificate) -> tuple[Encoding, PublicFormat]:
    """Return the encoding of the content of the bit string `subjectPublicKey`."""
    if issuer.public_key_algorithm_oid == x509.oid.PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5:
        return Encoding.DER, PublicFormat.PKCS1
    return Encoding.X962, PublicFormat.UncompressedPoint


def _digest(content: bytes, algorithm: str) -> bytes:
    digest = hashes.Hash(_HASHES[algorithm])
    digest.update(content)
    return digest.finalize()
