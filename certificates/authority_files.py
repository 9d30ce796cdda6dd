"""Authorities as they lie in files: made, imported, found, loaded once per process."""

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings

from certificates import key_encryption, pkcs11_keys
from certificates.errors import (
    AuthorityExists,
    AuthorityUnavailable,
    InvalidAuthority,
)
from certificates.pki import issuing, keys
from certificates.pki.errors import PkiError
from certificates.pki.issuer import (
    Addresses,
    Issuer,
    check_authority,
    key_identifier,
)
from certificates.pki.keys import IssuerPrivateKey, KeyType
from certificates.store import (
    PUBLIC,
    SECRET,
    AuthorityFiles,
    CertificateStore,
    read,
    read_secret,
    write,
)

DEVICE_CA, ROOT_CA = "Device CA", "Root CA"
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


def holder_of(*, key: bytes | None, address: str | None) -> KeyHolder:
    """A key that is given in PEM or by its address in a token.

    Raises:
        InvalidAuthority: the PEM cannot be read.
        AuthorityUnavailable: the token's key cannot be used.
    """
    if address is not None:
        return KeyHolder(pkcs11_keys.load(address), address)
    try:
        return KeyHolder(key_encryption.open_key(key or b""))
    except PkiError as error:
        raise InvalidAuthority(f"The CA cannot be imported: {error}.") from error


def make_first(
    store: CertificateStore,
    *,
    now: datetime,
    key_type: KeyType,
    with_root: bool,
    holder: KeyHolder | None = None,
) -> None:
    """Make the authority of a new installation; a key that a crash left alone is used."""
    if holder is None:
        left = _key_of(store.first)
        holder = KeyHolder(left or keys.generate_for_authority(key_type))
    _certify(store, store.first, holder, DEVICE_CA, now, key_type, with_root=with_root)


def make_successor(
    store: CertificateStore,
    *,
    name: str,
    now: datetime,
    key_type: KeyType,
    with_root: bool,
    holder: KeyHolder | None = None,
) -> Issuer:
    """Make one more, beside those that are there."""
    holder = holder or KeyHolder(keys.generate_for_authority(key_type))
    files = store.authority(identifier_of(holder.key))
    _certify(store, files, holder, name, now, key_type, with_root=with_root)
    return load(files)


def put(
    store: CertificateStore,
    files: AuthorityFiles,
    *,
    holder: KeyHolder,
    chain: bytes,
    now: datetime,
) -> Issuer:
    """Take an authority over from outside; nothing is ever overwritten.

    Args:
        chain: PEM certificates, the CA's own first, each followed by its issuer.

    Raises:
        AuthorityExists: there is one in this place.
        InvalidAuthority: says why they cannot act as one.
    """
    try:
        certificates = tuple(x509.load_pem_x509_certificates(chain))
        issuer = check_authority(certificates, holder.key)
    except (PkiError, ValueError, x509.InvalidVersion) as error:
        raise InvalidAuthority(f"The CA cannot be imported: {error}.") from error
    for certificate in certificates:
        if (
            not certificate.not_valid_before_utc
            <= now
            < certificate.not_valid_after_utc
        ):
            raise InvalidAuthority("The CA certificate is not valid now.")
    with store.locked():
        if files.has_key() or files.certificate.exists():
            raise AuthorityExists("There is a CA already; it is not overwritten.")
        _write(store, files, holder, certificates)
    return issuer


def find(store: CertificateStore, identifier: str) -> Issuer | None:
    """The authority with this key identifier (hex), if its files are here."""
    for files in (store.authority(identifier), *store.all_authorities()):
        if files.certificate.exists() and _identifies(files, identifier):
            return load(files)
    return None


def load(files: AuthorityFiles) -> Issuer:
    """An authority, loaded and checked once per process and set of files.

    Raises:
        AuthorityUnavailable: there is none, or it cannot be used.
    """
    known = _mark(files)
    issuer = _loaded.get(known)
    if issuer is None:
        with _loading:
            issuer = _loaded.get(known) or _load(files)
            _loaded[known] = issuer
    return issuer


def destroy_key(store: CertificateStore, identifier: str) -> bool:
    """Remove the key of an authority that signs no more; whether there was one."""
    for files in store.all_authorities():
        if _identifies(files, identifier) and files.has_key():
            files.key.unlink(missing_ok=True)
            files.key_address.unlink(missing_ok=True)
            _loaded.pop(_mark(files), None)
            return True
    return False


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


def _load(files: AuthorityFiles) -> Issuer:
    try:
        key = _key_of(files)
        if key is None:
            raise AuthorityUnavailable("The CA cannot be used: its key is not there.")
        return check_authority(chain_of(files), key)
    except UNUSABLE as error:
        raise AuthorityUnavailable(f"The CA cannot be used: {error}.") from error


def _key_of(files: AuthorityFiles) -> IssuerPrivateKey | None:
    address = read(files.key_address)
    if address is not None:
        return pkcs11_keys.load(address.decode().strip())
    pem = read_secret(files.key)
    return None if pem is None else key_encryption.open_key(pem)


def _certify(
    store: CertificateStore,
    files: AuthorityFiles,
    holder: KeyHolder,
    name: str,
    now: datetime,
    key_type: KeyType,
    *,
    with_root: bool,
) -> None:
    subject, lifetime = _subject(name), timedelta(days=settings.CA_VALIDITY_DAYS)
    if with_root:
        root = _root(store, now, key_type)
        certificate = issuing.subordinate_authority(
            public_key=holder.key.public_key(),
            subject=subject,
            issuer=root,
            addresses=addresses_of_authority(root),
            now=now,
            lifetime=lifetime,
        )
        chain = (certificate, *root.chain)
    else:
        certificate = issuing.self_signed_authority(
            key=holder.key, subject=subject, path_length=0, now=now, lifetime=lifetime
        )
        chain = (certificate,)
    _write(store, files, holder, chain)


def addresses_of_authority(issuer: Issuer) -> Addresses:
    """What a certificate below a root says of it: its list and its certificate."""
    identifier = issuer.key_identifier.hex()
    return Addresses(
        crl=public_address(f"authorities/{identifier}.crl"),
        issuer=public_address(f"authorities/{identifier}.cer"),
    )


def _root(store: CertificateStore, now: datetime, key_type: KeyType) -> Issuer:
    """The root whose key is here, or else a new one; it lives twice as long."""
    for files in store.all_authorities():
        if files.has_key() and _is_root(files):
            return load(files)
    key = keys.generate_for_authority(key_type)
    certificate = issuing.self_signed_authority(
        key=key,
        subject=_subject(ROOT_CA),
        path_length=1,
        now=now,
        lifetime=2 * timedelta(days=settings.CA_VALIDITY_DAYS),
    )
    files = store.authority(identifier_of(key))
    _write(store, files, KeyHolder(key), (certificate,))
    return load(files)


def _is_root(files: AuthorityFiles) -> bool:
    certificate = chain_of(files)[0]
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    return constraints.value.path_length != 0


def _subject(name: str) -> x509.Name:
    organization = settings.CERT_SUBJECT_ORGANIZATION
    return issuing.subject_name(
        f"{organization} {name}", organization, settings.CERT_SUBJECT_COUNTRY
    )


def _write(
    store: CertificateStore,
    files: AuthorityFiles,
    holder: KeyHolder,
    chain: tuple[x509.Certificate, ...],
) -> None:
    """The key first: a certificate whose key is not there would be of no use."""
    store.prepare()
    files.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if holder.address is not None:
        write(files.key_address, f"{holder.address}\n".encode(), mode=PUBLIC)
    elif not files.key.exists():
        write(files.key, key_encryption.close_authority(holder.key), mode=SECRET)
    chain_pem = b"".join(part.public_bytes(Encoding.PEM) for part in chain)
    write(files.certificate, chain_pem, mode=PUBLIC)
