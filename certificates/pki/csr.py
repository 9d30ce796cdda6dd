"""Parsing and checking of certificate signing requests (PKCS #10, RFC 2986)."""

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from certificates.pki.errors import BadRequest, WeakKey
from certificates.pki.keys import DevicePublicKey, require_acceptable_key

PARSE_ERRORS = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)
MAX_LENGTH = 16_384  # characters; an RSA-8192 request has about 2,800


def verified_public_key(pem: str) -> DevicePublicKey:
    """Parse a CSR in PEM, verify its proof of possession and return its public key.

    The names and extensions in the CSR are ignored: the CA decides what it certifies.

    Raises:
        BadRequest: the text is not a CSR, its self-signature is invalid (proof of
            possession, RFC 2986 §3), or its key is not acceptable.
    """
    if len(pem) > MAX_LENGTH:
        raise BadRequest(f"it is longer than {MAX_LENGTH} characters")
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        public_key = request.public_key()
        signature_is_valid = request.is_signature_valid
    except PARSE_ERRORS as error:
        raise BadRequest("it is not a readable PKCS #10 request in PEM") from error
    if not signature_is_valid:
        raise BadRequest("its signature is not valid for its own key, or uses a weak hash")
    try:
        return require_acceptable_key(public_key)
    except WeakKey as error:
        raise BadRequest(str(error)) from error
