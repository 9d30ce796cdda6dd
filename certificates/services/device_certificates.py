"""Create certificate authorities that are stored in files, and sign device certificates."""

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
    """A signed certificate in the staging folder.

    Attributes:
        key_made_here: whether the server generated the key. If so, the key is staged too.
    """

    certificate: x509.Certificate
    key_made_here: bool


class DeviceCertificatesService:
    """Create, import and load CAs, and sign device certificates."""

    def __init__(self, root: Path | None = None) -> None:
        self.store = CertificateStore(root or Path(settings.CERTIFICATES_ROOT))

    def initialize_ca(
        self, *, now: datetime, key_type: KeyType = "rsa", with_root: bool = False
    ) -> Issuer:
        """Load the first CA. On first use create this CA, self-signed or below a root.

        If several processes start at once, one creates the CA and the others wait. A key
        that a crash left without a certificate is used, never overwritten.

        Raises:
            AuthorityUnavailable: the CA's files exist but cannot be used.
        """
        if not self.exists():
            with self.store.locked():
                if not self.exists():
                    authority_creation.create_first(
                        self.store, now=now, key_type=key_type, with_root=with_root
                    )
        return self.issuer()

    def import_ca(
        self, *, chain: bytes, key: bytes | None = None, address: str | None = None, now: datetime
    ) -> Issuer:
        """Import an existing CA as the first CA. The caller passes either `key` or `address`.

        Args:
            chain: PEM certificates, the CA's own first, each followed by its issuer.
            key: the key in PEM, encrypted with `CA_KEY_PASSPHRASE` or not encrypted.
            address: URI of the key in a token (RFC 7512).

        Raises:
            AuthorityExists: there is already a CA, which is never overwritten.
            InvalidAuthority: the key and the chain cannot act as a CA.
        """
        authority_creation.import_authority(
            self.store,
            self.store.first,
            holder=authority_creation.load_key_holder(key=key, address=address),
            chain=chain,
            now=now,
        )
        return self.issuer()

    def certify_token_key(self, address: str, *, now: datetime, with_root: bool = False) -> Issuer:
        """Create the first CA with a key in a token. The server signs its certificate.

        Args:
            address: URI of the key (RFC 7512).

        Raises:
            AuthorityExists: there is already a CA, which is never overwritten.
            AuthorityUnavailable: the token or its key cannot be used.
        """
        holder = authority_creation.load_key_holder(key=None, address=address)
        with self.store.locked():
            if self.exists():
                raise AuthorityExists("A CA already exists. It is not overwritten.")
            authority_creation.create_first(
                self.store, now=now, key_type="rsa", with_root=with_root, holder=holder
            )
        return self.issuer()

    def exists(self) -> bool:
        return self.store.ca_certificate.exists()

    def issuer(self, key_identifier: str | None = None) -> Issuer:
        """Load the CA with a key identifier (hex). Without a key identifier, load the first CA.

        Raises:
            AuthorityUnavailable: the CA does not exist or cannot be used.
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
        """Sign a certificate for a device and write it to the staging folder.

        Args:
            addresses: the CRL, issuer and OCSP URLs for the certificate.
            public_key: the device's own key; None to generate a key of `key_type`.
            signing: a function that is called with the public key before signing. It may
                raise an exception to refuse the key.

        Raises:
            AuthorityUnavailable: the CA cannot sign now.
        """
        private_key = None
        if public_key is None:
            private_key = keys.generate(key_type, rsa_bits=settings.DEFAULT_KEY_SIZE)
            public_key = private_key.public_key()
        signing(public_key)
        certificate = _sign(device_id, public_key, serial_number, issuer, addresses, now)
        self.store.stage(
            serials.to_text(serial_number),
            key=key_encryption.encrypt_key(private_key) if private_key else None,
            certificate=certificate.public_bytes(Encoding.PEM),
        )
        return Signed(certificate, key_made_here=private_key is not None)


def _sign(
    device_id: UUID,
    public_key: DevicePublicKey,
    serial_number: int,
    issuer: Issuer,
    addresses: Addresses,
    now: datetime,
) -> x509.Certificate:
    """Sign a certificate and check that it conforms to the profile."""
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
        raise AuthorityUnavailable(f"The certificate cannot be signed: {error}.") from error
    for deviation in deviations(
        certificate, issuer=issuer.certificate, device_id=device_id, crl=addresses.crl
    ):
        raise AuthorityUnavailable(
            f"The new certificate does not conform to the profile: {deviation}."
        )
    return certificate
