"""Keys and requests as a device would make them; quick ones, since tests make many."""

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

DeviceKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def request_for(
    key: DeviceKey, *, common_name: str = "whatever", ca: bool = False
) -> str:
    """A PKCS #10 request in PEM; `ca` asks for what a device must not get."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    if ca:
        builder = builder.add_extension(
            x509.BasicConstraints(True, None), critical=True
        )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
