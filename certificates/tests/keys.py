"""Device keys and certificate signing requests for tests."""

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

DeviceKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def ec_key() -> ec.EllipticCurvePrivateKey:
    """Generate a P-256 key, which is much faster than an RSA key."""
    return ec.generate_private_key(ec.SECP256R1())


def request_for(key: DeviceKey, *, common_name: str = "whatever", ca: bool = False) -> str:
    """Build a PKCS #10 request in PEM.

    Args:
        key: The key that signs the request.
        common_name: The requested subject. The server ignores it.
        ca: Whether to ask for a CA certificate, which the server must not issue.
    """
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
