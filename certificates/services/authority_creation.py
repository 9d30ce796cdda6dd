"""Creation of certificate authorities, self-signed or below a root. Import of others."""

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


def load_key_holder(*, key: bytes | None, address: str | None) -> KeyHolder:
    """Load a CA key from PEM, or by the address of the key in a token.

    Args:
        key: the key in PEM.
        address: URI of the key in a token (RFC 7512); used instead of `key` if given.

    Raises:
        InvalidAuthority: the PEM cannot be read.
        AuthorityUnavailable: the key in the token cannot be used.
    """
    if address is not None:
        return KeyHolder(pkcs11_keys.load(address), address)
    try:
        return KeyHolder(key_encryption.decrypt_key(key or b""))
    except PkiError as error:
        raise InvalidAuthority(f"The CA cannot be imported: {error}.") from error


def create_first(
    store: CertificateStore,
    *,
    now: datetime,
    key_type: KeyType,
    with_root: bool,
    holder: KeyHolder | None = None,
) -> None:
    """Create the CA of a new installation.

    Without `holder`, use a key that a crash left without a certificate. If there is none,
    generate a key.
    """
    if holder is None:
        existing_key = key_of(store.first)
        holder = KeyHolder(existing_key or keys.generate_for_authority(key_type))
    root = _load_or_create_root(store, now, key_type, None) if with_root else None
    _certify(store, store.first, holder, DEVICE_CA, now, root)


def create_successor(
    store: CertificateStore,
    *,
    name: str,
    now: datetime,
    key_type: KeyType,
    with_root: bool,
    holder: KeyHolder | None = None,
    roots: set[str] | None = None,
) -> Issuer:
    """Create another CA beside the existing ones.

    Args:
        name: appended to the organisation in the CA's common name.
        holder: the key to use; None to generate a key of `key_type`.
        roots: the key identifiers of the roots that may be used with `with_root`.
    """
    holder = holder or KeyHolder(keys.generate_for_authority(key_type))
    files = store.authority(identifier_of(holder.key))
    root = _load_or_create_root(store, now, key_type, roots) if with_root else None
    _certify(store, files, holder, name, now, root)
    return load(files)


def import_authority(
    store: CertificateStore,
    files: AuthorityFiles,
    *,
    holder: KeyHolder,
    chain: bytes,
    now: datetime,
    resume: bool = False,
) -> Issuer:
    """Import a CA that was created elsewhere. Existing files are never overwritten.

    An interrupted import can be repeated.

    Args:
        files: where to store the CA.
        chain: PEM certificates, the CA's own first, each followed by its issuer.
        resume: whether all files of this CA may exist already. Use it if a crash may
            have prevented only the creation of the database record.

    Raises:
        AuthorityExists: another CA is stored in `files`.
        InvalidAuthority: the key and the chain cannot act as a CA.
    """
    certificates = _check_import(chain, holder, now)
    with store.locked():
        if _is_taken(files, holder, certificates, resume=resume):
            raise AuthorityExists("A CA already exists. It is not overwritten.")
        # Write the chain first: `create_first` would sign a new certificate for a key
        # that has none.
        write_chain(store, files, certificates)
        write_key(files, holder)
    return load(files)


def _check_import(chain: bytes, holder: KeyHolder, now: datetime) -> tuple[x509.Certificate, ...]:
    """Parse the chain. Check that the chain and the key can act as a CA now."""
    try:
        certificates = tuple(x509.load_pem_x509_certificates(chain))
        check_authority(certificates, holder.key)
    except (PkiError, ValueError, x509.InvalidVersion) as error:
        raise InvalidAuthority(f"The CA cannot be imported: {error}.") from error
    for certificate in certificates:
        if not _is_valid_at(certificate, now):
            raise InvalidAuthority(
                "The CA cannot be imported: a certificate of its chain is not valid now."
            )
    return certificates


def _is_taken(
    files: AuthorityFiles, holder: KeyHolder, chain: tuple[x509.Certificate, ...], *, resume: bool
) -> bool:
    """Return True if the files must not be used for this CA.

    This is the case if they belong to another CA. Without `resume`, it is also the case if
    the key and the chain both exist already.
    """
    has_key, has_chain = files.has_key(), files.certificate.exists()
    complete = has_key and has_chain and not resume
    other_chain = has_chain and chain_of(files) != chain
    return complete or other_chain or (has_key and not _has_key(files, holder))


def _has_key(files: AuthorityFiles, holder: KeyHolder) -> bool:
    stored = key_of(files)
    return stored is not None and stored.public_key() == holder.key.public_key()


def _certify(
    store: CertificateStore,
    files: AuthorityFiles,
    holder: KeyHolder,
    name: str,
    now: datetime,
    root: Issuer | None,
) -> None:
    """Sign a CA certificate and write the key and the chain.

    Without `root`, the certificate is self-signed.
    """
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
    """Return the URLs of a root's CRL and certificate, which certificates signed by it contain."""
    identifier = issuer.key_identifier.hex()
    return Addresses(
        crl=public_address(f"authorities/{identifier}.crl"),
        issuer=public_address(f"authorities/{identifier}.cer"),
    )


def _load_or_create_root(
    store: CertificateStore, now: datetime, key_type: KeyType, trusted: set[str] | None
) -> Issuer:
    """Return the root whose key is on this server. If there is none, create a root.

    A new root is valid twice as long as an issuing CA.

    Args:
        trusted: key identifiers of the roots that may be used; None for any.
    """
    for files in store.all_authorities():
        if files.has_key() and _is_root(files, now):
            root = load(files)
            if trusted is None or root.key_identifier.hex() in trusted:
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
    """Return True if the CA is a valid root for issuing CAs: self-issued, path length 1.

    An imported CA that issues to devices is not such a root.
    """
    certificate = chain_of(files)[0]
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    return (
        _is_valid_at(certificate, now)
        and certificate.issuer == certificate.subject
        and constraints.value.path_length == 1
    )


def _is_valid_at(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def _subject(name: str) -> x509.Name:
    organization = settings.CERT_SUBJECT_ORGANIZATION
    return issuing.subject_name(
        f"{organization} {name}", organization, settings.CERT_SUBJECT_COUNTRY
    )
