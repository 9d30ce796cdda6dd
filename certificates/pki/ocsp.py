"""The Online Certificate Status Protocol (RFC 6960), in its lightweight form (RFC 5019)."""

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
from certificates.pki.issuing import SIGNED_WITH
from certificates.pki.keys import DevicePrivateKey

LONGEST = 2048  # octets; a request has about 120
LONGEST_NONCE = 128  # octets (RFC 9654 §2.1); a longer one is not given back
_HASHES = {
    algorithm.name: algorithm
    for algorithm in (hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
}


class MalformedRequest(PkiError):
    """Not an OCSP request about one certificate."""


class Failure(Enum):
    """Why there is no signed answer (RFC 6960 §2.3)."""

    MALFORMED_REQUEST = ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    INTERNAL_ERROR = ocsp.OCSPResponseStatus.INTERNAL_ERROR
    TRY_LATER = ocsp.OCSPResponseStatus.TRY_LATER
    UNAUTHORIZED = ocsp.OCSPResponseStatus.UNAUTHORIZED

    def der(self) -> bytes:
        response = ocsp.OCSPResponseBuilder.build_unsuccessful(self.value)
        return response.public_bytes(Encoding.DER)


@dataclass(frozen=True, slots=True)
class Question:
    """What a request asks about; the hashes name the issuer (RFC 6960 §4.1.1)."""

    issuer_name_hash: bytes
    issuer_key_hash: bytes
    algorithm: hashes.HashAlgorithm
    serial_number: int
    nonce: bytes | None

    def is_about(self, issuer: x509.Certificate) -> bool:
        """Whether this issuer is meant."""
        known = _hashes_of(issuer, self.algorithm.name)
        return known == (self.issuer_name_hash, self.issuer_key_hash)


@dataclass(frozen=True, slots=True)
class Responder:
    """A delegated responder: its certificate, signed by the CA it speaks for, and its key."""

    certificate: x509.Certificate
    key: DevicePrivateKey


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a certificate: good, revoked since then, or unknown."""

    status: ocsp.OCSPCertStatus
    revoked_at: datetime | None = None
    reason: str = ""


GOOD = Verdict(ocsp.OCSPCertStatus.GOOD)
UNKNOWN = Verdict(ocsp.OCSPCertStatus.UNKNOWN)


def revoked(at: datetime, reason: str) -> Verdict:
    return Verdict(ocsp.OCSPCertStatus.REVOKED, at, reason)


def parse(der: bytes) -> Question:
    """Read a request.

    Raises:
        MalformedRequest: it is none, asks about several, or with an unknown hash.
    """
    if len(der) > LONGEST:
        raise MalformedRequest("the request is too long")
    try:
        request = ocsp.load_der_ocsp_request(der)
        algorithm = _HASHES.get(request.hash_algorithm.name)
        if algorithm is None:
            raise MalformedRequest("the hash is not one that is answered")
        if request.serial_number <= 0:
            raise MalformedRequest("no certificate has such a serial number")
        return Question(
            request.issuer_name_hash,
            request.issuer_key_hash,
            algorithm,
            request.serial_number,
            _nonce(request),
        )
    except (ValueError, NotImplementedError, UnsupportedAlgorithm) as error:
        raise MalformedRequest("not a request about one certificate") from error


def answer(
    question: Question,
    verdict: Verdict,
    *,
    responder: Responder,
    this_update: datetime,
    next_update: datetime,
) -> bytes:
    """Sign an answer (RFC 6960 §4.2.1), in DER; the request's own hashes and nonce return."""
    reason = verdict.reason
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response_by_hash(
            question.issuer_name_hash,
            question.issuer_key_hash,
            question.serial_number,
            question.algorithm,
            verdict.status,
            this_update.replace(microsecond=0),
            next_update.replace(microsecond=0),
            verdict.revoked_at,
            x509.ReasonFlags(reason) if reason not in ("", "unspecified") else None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, responder.certificate)
        .certificates([responder.certificate])
    )
    if question.nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(question.nonce), critical=False)
    return builder.sign(responder.key, SIGNED_WITH).public_bytes(Encoding.DER)


def _nonce(request: ocsp.OCSPRequest) -> bytes | None:
    try:
        nonce = request.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
    except x509.ExtensionNotFound:
        return None
    return nonce if 1 <= len(nonce) <= LONGEST_NONCE else None


@lru_cache(maxsize=64)
def _hashes_of(issuer: x509.Certificate, algorithm: str) -> tuple[bytes, bytes]:
    """Of its name and of its public key's bits, without their tag and length."""
    bits = issuer.public_key().public_bytes(*_key_bits(issuer))
    return _digest(issuer.subject.public_bytes(), algorithm), _digest(bits, algorithm)


def _key_bits(issuer: x509.Certificate) -> tuple[Encoding, PublicFormat]:
    if (
        issuer.public_key_algorithm_oid
        == x509.oid.PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5
    ):
        return Encoding.DER, PublicFormat.PKCS1
    return Encoding.X962, PublicFormat.UncompressedPoint


def _digest(content: bytes, algorithm: str) -> bytes:
    digest = hashes.Hash(_HASHES[algorithm])
    digest.update(content)
    return digest.finalize()
