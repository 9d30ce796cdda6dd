"""Certificate signing requests (PKCS #10, RFC 2986)."""

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from certificates.pki.errors import BadRequest, WeakKey
from certificates.pki.keys import DevicePublicKey, acceptable

UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)
LONGEST = 16_384  # characters; an RSA-8192 request has about 2,800


def proven_key(pem: str) -> DevicePublicKey:
    """Parse a PEM request; return its key, which the sender has proven to hold.

    Names and extensions that the request asks for are ignored by design: the
    authority decides what it certifies.

    Raises:
        BadRequest: the text is no request, its self-signature does not verify (proof
            of possession, RFC 2986 §3), or its key is not acceptable.
    """
    if len(pem) > LONGEST:
        raise BadRequest("the request is too long")
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        public_key = request.public_key()
        proven = request.is_signature_valid
    except UNREADABLE as error:
        raise BadRequest("not a readable PKCS #10 request in PEM") from error
    if not proven:
        raise BadRequest(
            "it is not signed by its own key, or with a hash that is too weak"
        )
    try:
        return acceptable(public_key)
    except WeakKey as error:
        raise BadRequest(str(error)) from error
