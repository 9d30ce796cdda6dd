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
    root = _root(store, now, key_type, None) if with_root else None
    _certify(store, store.first, holder, DEVICE_CA, now, root)


def make_successor(
    store: CertificateStore,
    *,
    name: str,
    now: datetime,
    key_type: KeyType,
    with_root: bool,
    holder: KeyHolder | None = None,
    roots: set[str] | None = None,
) -> Issuer:
    """Make one more, beside those that are there.

    Args:
        roots: the key identifiers of those that it may be put below.
    """
    holder = holder or KeyHolder(keys.generate_for_authority(key_type))
    files = store.authority(identifier_of(holder.key))
    root = _root(store, now, key_type, roots) if with_root else None
    _certify(store, files, holder, name, now, root)
    return load(files)


def put(
    store: CertificateStore,
    files: AuthorityFiles,
    *,
    holder: KeyHolder,
    chain: bytes,
    now: datetime,
    again: bool = False,
) -> Issuer:
    """Take an authority over from outside; nothing is ever overwritten.

    Killed in between, the same once more finishes it.

    Args:
        again: the very same may be there as a whole, not on record yet.
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
        if files.has_key() and files.certificate.exists() and not again:
            raise AuthorityExists("There is a CA already; it is not overwritten.")
        if files.certificate.exists() and chain_of(files) != certificates:
            raise AuthorityExists("There is a CA already; it is not overwritten.")
        if files.has_key() and not _is_key_of(files, holder):
            raise AuthorityExists("There is a CA already; it is not overwritten.")
        # The chain first: a key alone would be taken for one that wants a certificate.
        _write_chain(store, files, certificates)
        _write_key(files, holder)
    return issuer


def find(store: CertificateStore, identifier: str) -> Issuer | None:
    """The authority with this key identifier (hex), if its files are here."""
    for files in (store.authority(identifier), *store.all_authorities()):
        if files.certificate.exists() and _identifies(files, identifier):
            return load(files)
    return None


def reload(store: CertificateStore, identifier: str) -> Issuer:
    """The authority with this key identifier, read from its files anew.

    Raises:
        AuthorityUnavailable: its files are not here, or cannot be used.
    """
    for files in (store.authority(identifier), *store.all_authorities()):
        if files.certificate.exists() and _identifies(files, identifier):
            return _load(files)
    raise AuthorityUnavailable(f"The files of the CA {identifier} are not here.")


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


def _is_key_of(files: AuthorityFiles, holder: KeyHolder) -> bool:
    kept = _key_of(files)
    return kept is not None and kept.public_key() == holder.key.public_key()


def _certify(
    store: CertificateStore,
    files: AuthorityFiles,
    holder: KeyHolder,
    name: str,
    now: datetime,
    root: Issuer | None,
) -> None:
    subject, lifetime = _subject(name), timedelta(days=settings.CA_VALIDITY_DAYS)
    if root is not None:
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


def _root(
    store: CertificateStore, now: datetime, key_type: KeyType, known: set[str] | None
) -> Issuer:
    """The root whose key is here, or else a new one; it lives twice as long.

    Args:
        known: the roots that are trusted; None before there are any on record.
    """
    for files in store.all_authorities():
        if files.has_key() and _is_root(files, now):
            root = load(files)
            if known is None or root.key_identifier.hex() in known:
                return root
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


def _is_root(files: AuthorityFiles, now: datetime) -> bool:
    """Whether it is one as `_root` makes them: no imported CA that happens to be free."""
    own = chain_of(files)[0]
    constraints = own.extensions.get_extension_for_class(x509.BasicConstraints)
    valid = own.not_valid_before_utc <= now < own.not_valid_after_utc
    return valid and own.issuer == own.subject and constraints.value.path_length == 1


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
    _write_key(files, holder)
    _write_chain(store, files, chain)


def _write_key(files: AuthorityFiles, holder: KeyHolder) -> None:
    if holder.address is not None:
        write(files.key_address, f"{holder.address}\n".encode(), mode=PUBLIC)
    elif not files.key.exists():
        write(files.key, key_encryption.close_authority(holder.key), mode=SECRET)


def _write_chain(
    store: CertificateStore,
    files: AuthorityFiles,
    chain: tuple[x509.Certificate, ...],
) -> None:
    store.prepare()
    files.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    chain_pem = b"".join(part.public_bytes(Encoding.PEM) for part in chain)
    write(files.certificate, chain_pem, mode=PUBLIC)
