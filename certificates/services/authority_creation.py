"""How an authority comes into being: made, put below a root, or taken over."""

from datetime import datetime, timedelta

from cryptography import x509
from django.conf import settings

from certificates.errors import AuthorityExists, InvalidAuthority
from certificates.pki import issuing, keys
from certificates.pki.errors import PkiError
from certificates.pki.issuer import Addresses, Issuer, check_authority
from certificates.pki.keys import KeyType
from certificates.services import key_encryption, pkcs11_keys
from certificates.services.authority_files import (
    KeyHolder,
    chain_of,
    identifier_of,
    key_of,
    load,
    public_address,
    write_chain,
    write_key,
    write_new,
)
from certificates.services.file_store import AuthorityFiles, CertificateStore

DEVICE_CA, ROOT_CA = "Device CA", "Root CA"


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
        left = key_of(store.first)
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


def take_over(
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
    certificates = _usable(chain, holder, now)
    with store.locked():
        if _is_taken(files, holder, certificates, again=again):
            raise AuthorityExists("There is a CA already; it is not overwritten.")
        # The chain first: a key alone would be taken for one that wants a certificate.
        write_chain(store, files, certificates)
        write_key(files, holder)
    return load(files)


def _usable(
    chain: bytes, holder: KeyHolder, now: datetime
) -> tuple[x509.Certificate, ...]:
    """The certificates, if they and the key can act as an authority now."""
    try:
        certificates = tuple(x509.load_pem_x509_certificates(chain))
        check_authority(certificates, holder.key)
    except (PkiError, ValueError, x509.InvalidVersion) as error:
        raise InvalidAuthority(f"The CA cannot be imported: {error}.") from error
    for own in certificates:
        if not own.not_valid_before_utc <= now < own.not_valid_after_utc:
            raise InvalidAuthority("The CA certificate is not valid now.")
    return certificates


def _is_taken(
    files: AuthorityFiles,
    holder: KeyHolder,
    chain: tuple[x509.Certificate, ...],
    *,
    again: bool,
) -> bool:
    """Whether there is anything in this place but a part of the very same."""
    key, certificate = files.has_key(), files.certificate.exists()
    whole = key and certificate and not again
    other_chain = certificate and chain_of(files) != chain
    return whole or other_chain or (key and not _is_key_of(files, holder))


def _is_key_of(files: AuthorityFiles, holder: KeyHolder) -> bool:
    kept = key_of(files)
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
    write_new(store, files, holder, chain)


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
    write_new(store, files, KeyHolder(key), (certificate,))
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
