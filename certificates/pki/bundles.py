"""Export of a private key with its certificate and chain, in PEM or PKCS #12."""

from collections.abc import Iterable
from typing import Literal, get_args

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, pkcs12

from certificates.pki import keys
from certificates.pki.keys import DevicePrivateKey

Form = Literal["pem", "pkcs12"]
FORMS = get_args(Form)


def pem(
    key: DevicePrivateKey,
    certificate: x509.Certificate,
    chain: Iterable[x509.Certificate],
    passphrase: str = "",
) -> bytes:
    """Return a PEM bundle: the PKCS #8 key, the certificate, then its chain.

    Args:
        chain: the CA certificates, each followed by its issuer.
        passphrase: encrypts the key; empty leaves it unencrypted.
    """
    certificates = (certificate, *chain)
    return keys.to_pem(key, passphrase) + b"".join(
        item.public_bytes(Encoding.PEM) for item in certificates
    )


def pkcs_12(
    key: DevicePrivateKey,
    certificate: x509.Certificate,
    chain: Iterable[x509.Certificate],
    passphrase: str,
    name: str,
) -> bytes:
    """Return a PKCS #12 store (RFC 7292), encrypted with `passphrase`.

    Args:
        name: the friendly name of the entry.
    """
    return pkcs12.serialize_key_and_certificates(
        name.encode(), key, certificate, list(chain), BestAvailableEncryption(passphrase.encode())
    )
