"""A key with its certificate and chain, as other software takes them in."""

from collections.abc import Iterable
from typing import Literal, get_args

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    pkcs12,
)

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
    """PKCS #8 key, encrypted when there is a passphrase, then certificates upwards."""
    parts = (certificate, *chain)
    return keys.to_pem(key, passphrase) + b"".join(
        part.public_bytes(Encoding.PEM) for part in parts
    )


def pkcs_12(
    key: DevicePrivateKey,
    certificate: x509.Certificate,
    chain: Iterable[x509.Certificate],
    passphrase: str,
    name: str,
) -> bytes:
    """A PKCS #12 store (RFC 7292) under a passphrase; `name` is the entry's."""
    return pkcs12.serialize_key_and_certificates(
        name.encode(),
        key,
        certificate,
        list(chain),
        BestAvailableEncryption(passphrase.encode()),
    )
