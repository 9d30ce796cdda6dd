"""Reading and writing of the files of certificate authorities."""

import threading
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings

from certificates.errors import AuthorityUnavailable
from certificates.pki.issuer import Issuer, check_authority, key_identifier
from certificates.pki.keys import IssuerPrivateKey
from certificates.services import key_encryption, pkcs11_keys
from certificates.services.file_store import (
    PUBLIC,
    SECRET,
    AuthorityFiles,
    CertificateStore,
    read,
    read_secret,
    write,
)

LOAD_ERRORS = (OSError, ValueError, x509.InvalidVersion)

_loaded: dict[tuple[Path, int, int], Issuer] = {}
_load_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """A CA's private key and where it is stored.

    Attributes:
        address: the `pkcs11:` URI of a key in a token (RFC 7512); None for a key file.
    """

    key: IssuerPrivateKey
    address: str | None = None


def public_address(path: str) -> str:
    """Return the URL at which verifiers fetch a file: plain HTTP on the host of `PUBLIC_URL`."""
    return f"{settings.PKI_URL}/certificates/{path}"


def find(store: CertificateStore, identifier: str) -> AuthorityFiles:
    """Return the files of the CA with this key identifier (hex).

    Raises:
        AuthorityUnavailable: the files are missing.
    """
    for files in (store.authority(identifier), *store.all_authorities()):
        if files.certificate.exists() and _identifies(files, identifier):
            return files
    raise AuthorityUnavailable(
        f"The files of the CA with key identifier {identifier} are missing or belong to "
        "another CA. Restore them."
    )


def load(files: AuthorityFiles) -> Issuer:
    """Load and check a CA. Cache it until its certificate file changes.

    Raises:
        AuthorityUnavailable: the CA does not exist or cannot be used.
    """
    cache_key = _cache_key(files)
    issuer = _loaded.get(cache_key)
    if issuer is None:
        with _load_lock:
            issuer = _loaded.get(cache_key) or load_uncached(files)
            _loaded[cache_key] = issuer
    return issuer


def destroy_key(store: CertificateStore, identifier: str) -> bool:
    """Remove the key file of a retired CA, or the file with the key's address in a token.

    Returns:
        True if such a file existed.
    """
    try:
        files = find(store, identifier)
    except AuthorityUnavailable:
        return False
    had_key = files.has_key()
    files.key.unlink(missing_ok=True)
    files.key_address.unlink(missing_ok=True)
    _loaded.pop(_cache_key(files), None)
    return had_key


def chain_of(files: AuthorityFiles) -> tuple[x509.Certificate, ...]:
    """Read a CA's certificate chain. The CA's key is not needed.

    Raises:
        AuthorityUnavailable: the chain cannot be read.
    """
    try:
        return tuple(x509.load_pem_x509_certificates(files.certificate.read_bytes()))
    except LOAD_ERRORS as error:
        raise AuthorityUnavailable(f"The CA cannot be used: {error}.") from error


def _cache_key(files: AuthorityFiles) -> tuple[Path, int, int]:
    """Return the cache key of a certificate file. It changes when the file is replaced."""
    try:
        status = files.certificate.stat()
    except FileNotFoundError as error:
        raise AuthorityUnavailable("There is no CA yet.") from error
    return files.certificate, status.st_mtime_ns, status.st_ino


def _identifies(files: AuthorityFiles, identifier: str) -> bool:
    loaded = _loaded.get(_cache_key(files))
    ca = loaded.certificate if loaded else chain_of(files)[0]
    return key_identifier(ca).hex() == identifier


def identifier_of(key: IssuerPrivateKey) -> str:
    """Compute the key identifier (hex) of a CA key."""
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()


def load_uncached(files: AuthorityFiles) -> Issuer:
    """Load and check a CA without the cache.

    Raises:
        AuthorityUnavailable: the CA cannot be used.
    """
    try:
        key = key_of(files)
        if key is None:
            raise AuthorityUnavailable("The CA cannot be used: its key is missing.")
        return check_authority(chain_of(files), key)
    except LOAD_ERRORS as error:
        raise AuthorityUnavailable(f"The CA cannot be used: {error}.") from error


def key_of(files: AuthorityFiles) -> IssuerPrivateKey | None:
    """Read a CA's key from its file or token. Return None if there is no key."""
    address = read(files.key_address)
    if address is not None:
        return pkcs11_keys.load(address.decode().strip())
    pem = read_secret(files.key)
    return None if pem is None else key_encryption.decrypt_key(pem)


def write_new(
    store: CertificateStore,
    files: AuthorityFiles,
    holder: KeyHolder,
    chain: tuple[x509.Certificate, ...],
) -> None:
    """Write a CA's key and then its chain.

    A key that a crash left without a chain can be reused.
    """
    store.prepare()
    files.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_key(files, holder)
    write_chain(store, files, chain)


def write_key(files: AuthorityFiles, holder: KeyHolder) -> None:
    if holder.address is not None:
        write(files.key_address, f"{holder.address}\n".encode(), mode=PUBLIC)
    elif not files.key.exists():
        pem = key_encryption.encrypt_key(holder.key, authority=True)
        write(files.key, pem, mode=SECRET)


def write_chain(
    store: CertificateStore, files: AuthorityFiles, chain: tuple[x509.Certificate, ...]
) -> None:
    store.prepare()
    files.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    chain_pem = b"".join(item.public_bytes(Encoding.PEM) for item in chain)
    write(files.certificate, chain_pem, mode=PUBLIC)
