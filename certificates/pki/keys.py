"""Generation, checking and serialisation of private and public keys."""

from typing import Any, Literal, get_args

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certificates.pki import weak_keys
from certificates.pki.errors import PkiError, WeakKey

KeyType = Literal["rsa", "ec"]
DevicePrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
DevicePublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
IssuerPrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

KEY_TYPES = get_args(KeyType)
PUBLIC_EXPONENT = 65537
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192  # the time to verify grows with the square of the size
# A CA is valid for ten years; 2048 bits are sufficient until 2030 (SP 800-57).
AUTHORITY_RSA_BITS = 3072


def generate(kind: KeyType, *, rsa_bits: int) -> DevicePrivateKey:
    """Generate a device key: an RSA key of `rsa_bits` bits, or an EC key on P-256."""
    if kind == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(PUBLIC_EXPONENT, rsa_bits)


def generate_for_authority(kind: KeyType) -> IssuerPrivateKey:
    """Generate a CA key: RSA-3072, or EC P-384."""
    if kind == "ec":
        return ec.generate_private_key(ec.SECP384R1())
    return rsa.generate_private_key(PUBLIC_EXPONENT, AUTHORITY_RSA_BITS)


def require_acceptable_key(key: object) -> DevicePublicKey:
    """Return the key if a device certificate may contain it.

    The accepted keys are EC P-256, EC P-384, and RSA of 2048 to 8192 bits with an odd
    exponent from 65537 to 2³² and without a known weakness.

    Raises:
        WeakKey: the key is not acceptable. The message contains the reason.
    """
    match key:
        case rsa.RSAPublicKey():
            if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
                raise WeakKey(
                    f"an RSA key must have {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, "
                    f"not {key.key_size}"
                )
            exponent = key.public_numbers().e
            if exponent % 2 == 0 or not PUBLIC_EXPONENT <= exponent < 2**32:
                raise WeakKey(f"the RSA exponent must be odd and from {PUBLIC_EXPONENT} to 2^32")
            if (flaw := weak_keys.flaw(key.public_numbers().n)) is not None:
                raise WeakKey(f"the RSA key is weak: {flaw}")
            return key
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1() | ec.SECP384R1()):
            return key
        case _:
            raise WeakKey("the key must be RSA, EC P-256 or EC P-384")


def kind_of(key: DevicePublicKey) -> KeyType:
    return "rsa" if isinstance(key, rsa.RSAPublicKey) else "ec"


def public_digest(key: Any) -> str:
    """Return the SHA-256 digest (hex) of a key's SubjectPublicKeyInfo.

    The digest identifies a key pair in records, files and requests.
    """
    digest = hashes.Hash(hashes.SHA256())
    digest.update(
        key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return digest.finalize().hex()


def to_pem(key: DevicePrivateKey, passphrase: str = "") -> bytes:
    """Serialise a private key as PKCS #8 in PEM, encrypted if `passphrase` is not empty."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode())
        if passphrase
        else serialization.NoEncryption(),
    )


def from_pem(pem: bytes, passphrase: str = "", *, made_here: bool = False) -> DevicePrivateKey:
    """Parse a private key in PEM and check its consistency (about 32 ms for RSA-2048).

    Args:
        made_here: whether to skip the consistency checks. Use it for a key file that
            this server generated and nobody else could change.

    Raises:
        PkiError: the key is unreadable, neither RSA nor EC, or the passphrase is wrong.
    """
    try:
        key = serialization.load_pem_private_key(
            pem,
            passphrase.encode() if passphrase else None,
            unsafe_skip_rsa_key_validation=made_here,
        )
    except TypeError as error:
        raise PkiError(
            "the key is encrypted and no passphrase was given, or the key is not encrypted "
            "and a passphrase was given"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise PkiError("it is not a readable private key, or the passphrase is wrong") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise PkiError("the key must be RSA or EC")
    return key
