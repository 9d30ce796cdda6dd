"""The file-based certificate authority: its own key and chain, and devices' files."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings

from certificates.errors import AuthorityExists, AuthorityUnavailable
from certificates.pki import issuing, keys, serials
from certificates.pki.conformance import deviations
from certificates.pki.errors import PkiError
from certificates.pki.issuer import Addresses, Issuer
from certificates.pki.keys import DevicePublicKey, KeyType
from certificates.services import authority_creation, authority_files, key_encryption
from certificates.services.file_store import CertificateStore


@dataclass(frozen=True, slots=True)
class Signed:
    """A certificate that lies staged among the files, with its key if we made that."""

    certificate: x509.Certificate
    key_made_here: bool


class DeviceCertificatesService:
    """Signs device certificates and keeps their files."""

    def __init__(self, root: Path | None = None) -> None:
        self.store = CertificateStore(root or Path(settings.CERTIFICATES_ROOT))

    def initialize_ca(
        self, *, now: datetime, key_type: KeyType = "rsa", with_root: bool = False
    ) -> Issuer:
        """Load the authority; on first use make one, self-signed or below a root.

        However many processes start at once, one makes it and the others wait. A key
        that a crash left without its certificate is used, never overwritten.

        Raises:
            AuthorityUnavailable: its files are there but cannot be used.
        """
        if not self.exists():
            with self.store.locked():
                if not self.exists():
                    authority_creation.make_first(
                        self.store, now=now, key_type=key_type, with_root=with_root
                    )
        return self.issuer()

    def import_ca(
        self,
        *,
        chain: bytes,
        key: bytes | None = None,
        address: str | None = None,
        now: datetime,
    ) -> Issuer:
        """Become an existing authority.

        Args:
            chain: PEM certificates, the CA's own first, each followed by its issuer.
            key: PEM, encrypted under `CA_KEY_PASSPHRASE` or not at all; or else
            address: of the key in a token (RFC 7512).

        Raises:
            AuthorityExists: there is one; none is ever overwritten.
            InvalidAuthority: says why they cannot act as one.
        """
        authority_creation.take_over(
            self.store,
            self.store.first,
            holder=authority_creation.holder_of(key=key, address=address),
            chain=chain,
            now=now,
        )
        return self.issuer()

    def certify_token_key(
        self, address: str, *, now: datetime, with_root: bool = False
    ) -> Issuer:
        """Become the authority whose key lies in a token; its certificate is made here.

        Raises:
            AuthorityExists: there is one; none is ever overwritten.
            AuthorityUnavailable: the token or its key cannot be used.
        """
        holder = authority_creation.holder_of(key=None, address=address)
        with self.store.locked():
            if self.exists():
                raise AuthorityExists("There is a CA already; it is not overwritten.")
            authority_creation.make_first(
                self.store, now=now, key_type="rsa", with_root=with_root, holder=holder
            )
        return self.issuer()

    def exists(self) -> bool:
        return self.store.ca_certificate.exists()

    def issuer(self, key_identifier: str | None = None) -> Issuer:
        """An authority by its key identifier (hex), or the first, loaded and checked.

        Raises:
            AuthorityUnavailable: there is none, or it cannot be used.
        """
        if key_identifier is None:
            return authority_files.load(self.store.first)
        return authority_files.load(authority_files.find(self.store, key_identifier))

    def issue_certificate(
        self,
        device_id: UUID,
        *,
        serial_number: int,
        issuer: Issuer,
        addresses: Addresses,
        public_key: DevicePublicKey | None = None,
        key_type: KeyType = "rsa",
        now: datetime,
        signing: Callable[[DevicePublicKey], None] = lambda key: None,
    ) -> Signed:
        """Sign a certificate for a device and stage it, with a key made for it if need be.

        Args:
            addresses: what the certificate says of its list, issuer and responder.
            public_key: the device's own; None to make a key pair of `key_type` here.
            signing: called with the key before anything is signed; may refuse.

        Raises:
            AuthorityUnavailable: the CA cannot sign now.
        """
        private_key = None
        if public_key is None:
            private_key = keys.generate(key_type, rsa_bits=settings.DEFAULT_KEY_SIZE)
            public_key = private_key.public_key()
        signing(public_key)
        certificate = _signed(
            device_id, public_key, serial_number, issuer, addresses, now
        )
        self.store.stage(
            serials.to_text(serial_number),
            key=key_encryption.close(private_key) if private_key else None,
            certificate=certificate.public_bytes(Encoding.PEM),
        )
        return Signed(certificate, key_made_here=private_key is not None)


def _signed(
    device_id: UUID,
    public_key: DevicePublicKey,
    serial_number: int,
    issuer: Issuer,
    addresses: Addresses,
    now: datetime,
) -> x509.Certificate:
    """Sign, and see that what came out is what the profile says."""
    try:
        certificate = issuing.device_certificate(
            device_id=device_id,
            public_key=public_key,
            serial_number=serial_number,
            issuer=issuer,
            addresses=addresses,
            organization=settings.CERT_SUBJECT_ORGANIZATION,
            country=settings.CERT_SUBJECT_COUNTRY,
            now=now,
            lifetime=timedelta(days=settings.DEFAULT_CERT_VALIDITY_DAYS),
        )
    except PkiError as error:
        raise AuthorityUnavailable(f"No certificate: {error}.") from error
    found = deviations(
        certificate,
        issuer=issuer.certificate,
        device_id=device_id,
        crl=addresses.crl,
    )
    for deviation in found:
        raise AuthorityUnavailable(f"No certificate: {deviation}.")
    return certificate
