"""Keys: which ones are made, which are accepted, how they are written down."""

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
LEAST_RSA_BITS = 2048
MOST_RSA_BITS = 8192  # a verification's time grows with the square of it
AUTHORITY_RSA_BITS = 3072  # lives ten years; 2048 bits are good until 2030 (SP 800-57)


def generate(kind: KeyType, *, rsa_bits: int) -> DevicePrivateKey:
    """A new device key: RSA of so many bits, or EC P-256."""
    if kind == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(PUBLIC_EXPONENT, rsa_bits)


def generate_for_authority(kind: KeyType) -> IssuerPrivateKey:
    """A new CA key: RSA-3072, or EC P-384."""
    if kind == "ec":
        return ec.generate_private_key(ec.SECP384R1())
    return rsa.generate_private_key(PUBLIC_EXPONENT, AUTHORITY_RSA_BITS)


def acceptable(key: object) -> DevicePublicKey:
    """The key itself, if a device certificate may carry it.

    Accepts RSA of 2048 to 8192 bits with a usual exponent and without a known flaw,
    EC P-256 and P-384.

    Raises:
        WeakKey: says what is wrong with it.
    """
    match key:
        case rsa.RSAPublicKey():
            if not LEAST_RSA_BITS <= key.key_size <= MOST_RSA_BITS:
                raise WeakKey(
                    f"an RSA key has {LEAST_RSA_BITS} to {MOST_RSA_BITS} bits here, "
                    f"not {key.key_size}"
                )
            exponent = key.public_numbers().e
            if exponent % 2 == 0 or not PUBLIC_EXPONENT <= exponent < 2**32:
                raise WeakKey("the RSA exponent is not a usual one")
            if (found := weak_keys.flaw(key.public_numbers().n)) is not None:
                raise WeakKey(f"the RSA key is weak: {found}")
            return key
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1() | ec.SECP384R1()):
            return key
        case _:
            raise WeakKey("the key must be RSA, EC P-256 or EC P-384")


def kind_of(key: DevicePublicKey) -> KeyType:
    return "rsa" if isinstance(key, rsa.RSAPublicKey) else "ec"


def public_digest(key: Any) -> str:
    """SHA-256 in hex over the SubjectPublicKeyInfo: names a key wherever it turns up."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(
        key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return digest.finalize().hex()


def to_pem(key: DevicePrivateKey, passphrase: str = "") -> bytes:
    """PKCS #8 in PEM, encrypted when there is a passphrase."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode())
        if passphrase
        else serialization.NoEncryption(),
    )


def from_pem(
    pem: bytes, passphrase: str = "", *, made_here: bool = False
) -> DevicePrivateKey:
    """Read a private key, with its consistency checks (for RSA-2048 about 32 ms).

    Args:
        made_here: it was checked when it was made, and nobody else could write it
            since: the checks are left out.

    Raises:
        PkiError: it is unreadable, of another kind, or the passphrase is wrong.
    """
    try:
        key = serialization.load_pem_private_key(
            pem,
            passphrase.encode() if passphrase else None,
            unsafe_skip_rsa_key_validation=made_here,
        )
    except TypeError as error:
        raise PkiError("the key's passphrase is missing, or it has none") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise PkiError("not a readable private key, or a wrong passphrase") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise PkiError("the key must be RSA or EC")
    return key
