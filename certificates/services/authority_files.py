"""Authorities as they lie in files: found, loaded once per process, written whole."""

import threading
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings

from certificates.errors import (
    AuthorityUnavailable,
)
from certificates.pki.issuer import (
    Issuer,
    check_authority,
    key_identifier,
)
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

UNUSABLE = (OSError, ValueError, x509.InvalidVersion)

_loaded: dict[tuple[Path, int, int], Issuer] = {}
_loading = threading.Lock()


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """A private key, and how it is kept: in a file of ours, or in a token by address."""

    key: IssuerPrivateKey
    address: str | None = None  # pkcs11:… (RFC 7512)


def public_address(path: str) -> str:
    """Where verifiers find something: the host of `PUBLIC_URL`, by plain http."""
    return f"{settings.PKI_URL}/certificates/{path}"


def find(store: CertificateStore, identifier: str) -> AuthorityFiles:
    """The files of the authority with this key identifier (hex).

    Raises:
        AuthorityUnavailable: they are not here.
    """
    for files in (store.authority(identifier), *store.all_authorities()):
        if files.certificate.exists() and _identifies(files, identifier):
            return files
    raise AuthorityUnavailable(
        "The CA's files are not those of the CA that signed so far: restore them."
    )


def load(files: AuthorityFiles) -> Issuer:
    """An authority, loaded and checked once per process and set of files.

    Raises:
        AuthorityUnavailable: there is none, or it cannot be used.
    """
    known = _mark(files)
    issuer = _loaded.get(known)
    if issuer is None:
        with _loading:
            issuer = _loaded.get(known) or read_anew(files)
            _loaded[known] = issuer
    return issuer


def destroy_key(store: CertificateStore, identifier: str) -> bool:
    """Remove the key of an authority that signs no more; whether there was one."""
    try:
        files = find(store, identifier)
    except AuthorityUnavailable:
        return False
    was_here = files.has_key()
    files.key.unlink(missing_ok=True)
    files.key_address.unlink(missing_ok=True)
    _loaded.pop(_mark(files), None)
    return was_here


def chain_of(files: AuthorityFiles) -> tuple[x509.Certificate, ...]:
    """The certificates alone, for which no key is needed.

    Raises:
        AuthorityUnavailable: they cannot be read.
    """
    try:
        return tuple(x509.load_pem_x509_certificates(files.certificate.read_bytes()))
    except UNUSABLE as error:
        raise AuthorityUnavailable(f"The CA cannot be used: {error}.") from error


def _mark(files: AuthorityFiles) -> tuple[Path, int, int]:
    """Names this very file, as long as nobody writes another in its place."""
    try:
        found = files.certificate.stat()
    except FileNotFoundError as error:
        raise AuthorityUnavailable("There is no CA yet.") from error
    return files.certificate, found.st_mtime_ns, found.st_ino


def _identifies(files: AuthorityFiles, identifier: str) -> bool:
    loaded = _loaded.get(_mark(files))
    ca = loaded.certificate if loaded else chain_of(files)[0]
    return key_identifier(ca).hex() == identifier


def identifier_of(key: IssuerPrivateKey) -> str:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()


def read_anew(files: AuthorityFiles) -> Issuer:
    """The same, whatever has been loaded of it.

    Raises:
        AuthorityUnavailable: it cannot be used.
    """
    try:
        key = key_of(files)
        if key is None:
            raise AuthorityUnavailable("The CA cannot be used: its key is not there.")
        return check_authority(chain_of(files), key)
    except UNUSABLE as error:
        raise AuthorityUnavailable(f"The CA cannot be used: {error}.") from error


def key_of(files: AuthorityFiles) -> IssuerPrivateKey | None:
    """Its key, in a file or in a token; None when there is none."""
    address = read(files.key_address)
    if address is not None:
        return pkcs11_keys.load(address.decode().strip())
    pem = read_secret(files.key)
    return None if pem is None else key_encryption.open_key(pem)


def write_new(
    store: CertificateStore,
    files: AuthorityFiles,
    holder: KeyHolder,
    chain: tuple[x509.Certificate, ...],
) -> None:
    """The key first: a certificate whose key is not there would be of no use."""
    store.prepare()
    files.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_key(files, holder)
    write_chain(store, files, chain)


def write_key(files: AuthorityFiles, holder: KeyHolder) -> None:
    if holder.address is not None:
        write(files.key_address, f"{holder.address}\n".encode(), mode=PUBLIC)
    elif not files.key.exists():
        write(files.key, key_encryption.close_authority(holder.key), mode=SECRET)


def write_chain(
    store: CertificateStore,
    files: AuthorityFiles,
    chain: tuple[x509.Certificate, ...],
) -> None:
    store.prepare()
    files.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    chain_pem = b"".join(part.public_bytes(Encoding.PEM) for part in chain)
    write(files.certificate, chain_pem, mode=PUBLIC)
