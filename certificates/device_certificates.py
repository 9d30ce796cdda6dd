"""The file-based certificate authority: its own key and chain, and devices' files."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings

from certificates.errors import (
    AuthorityExists,
    AuthorityUnavailable,
    InvalidAuthority,
)
from certificates.pki import issuing, keys, serials
from certificates.pki.errors import PkiError
from certificates.pki.issuing import Issuer
from certificates.pki.keys import DevicePublicKey, KeyType
from certificates.store import PUBLIC, SECRET, CertificateStore, read, write

COMMON_NAME = "Device CA"


@dataclass(frozen=True, slots=True)
class Signed:
    """A certificate that lies staged among the files, with its key if we made that."""

    certificate: x509.Certificate
    key_made_here: bool


_loaded: dict[tuple[Path, int, int], Issuer] = {}
_loading = threading.Lock()


class DeviceCertificatesService:
    """Signs device certificates and keeps their files."""

    def __init__(self, root: Path | None = None) -> None:
        self.store = CertificateStore(root or Path(settings.CERTIFICATES_ROOT))

    def initialize_ca(self, *, now: datetime, key_type: KeyType = "rsa") -> Issuer:
        """Load the authority; on first use make a self-signed one.

        However many processes start at once, one makes it and the others wait. A key
        that a crash left without its certificate is used, never overwritten.

        Raises:
            AuthorityUnavailable: its files are there but cannot be used.
        """
        if not self.store.ca_certificate.exists():
            with self.store.locked():
                if not self.store.ca_certificate.exists():
                    self._make_authority(now, key_type)
        return self.issuer()

    def import_ca(self, *, key: bytes, chain: bytes, now: datetime) -> Issuer:
        """Become an existing authority.

        Args:
            key: PEM, encrypted under `CA_KEY_PASSPHRASE` or not at all.
            chain: PEM certificates, the CA's own first, each followed by its issuer.

        Raises:
            AuthorityExists: there is one; none is ever overwritten.
            InvalidAuthority: says why they cannot act as one.
        """
        try:
            private_key = keys.from_pem(key, _passphrase_for(key))
            certificates = tuple(x509.load_pem_x509_certificates(chain))
            issuer = issuing.check_authority(certificates, private_key)
        except (PkiError, ValueError, x509.InvalidVersion) as error:
            raise InvalidAuthority(f"The CA cannot be imported: {error}.") from error
        ca = issuer.certificate
        if not ca.not_valid_before_utc <= now < ca.not_valid_after_utc:
            raise InvalidAuthority("The CA certificate is not valid now.")
        with self.store.locked():
            if self.store.ca_key.exists() or self.store.ca_certificate.exists():
                raise AuthorityExists("There is a CA already; it is not overwritten.")
            self._write_authority(private_key, certificates)
        return self.issuer()

    def exists(self) -> bool:
        return self.store.ca_certificate.exists()

    def issuer(self) -> Issuer:
        """The authority, loaded and checked once per process and set of files.

        Raises:
            AuthorityUnavailable: there is none, or it cannot be used.
        """
        try:
            mark = self.store.ca_certificate.stat()
        except FileNotFoundError as error:
            raise AuthorityUnavailable("There is no CA yet.") from error
        known = (self.store.ca_certificate, mark.st_mtime_ns, mark.st_ino)
        issuer = _loaded.get(known)
        if issuer is None:
            with _loading:
                issuer = _loaded.get(known) or self._load()
                _loaded[known] = issuer
        return issuer

    def chain_pem(self) -> str:
        """The CA's certificate and those above it."""
        return "".join(
            certificate.public_bytes(Encoding.PEM).decode()
            for certificate in self.issuer().chain
        )

    def issue_certificate(
        self,
        device_id: UUID,
        *,
        serial_number: int,
        public_key: DevicePublicKey | None = None,
        key_type: KeyType = "rsa",
        now: datetime,
        signing: Callable[[DevicePublicKey], None] = lambda key: None,
    ) -> Signed:
        """Sign a certificate for a device and stage it, with a key made for it if need be.

        Args:
            public_key: the device's own; None to make a key pair of `key_type` here.
            signing: called with the key before anything is signed; may refuse.

        Raises:
            AuthorityUnavailable: the CA cannot sign now.
        """
        issuer = self.initialize_ca(now=now)
        private_key = None
        if public_key is None:
            private_key = keys.generate(key_type, rsa_bits=settings.DEFAULT_KEY_SIZE)
            public_key = private_key.public_key()
        signing(public_key)
        try:
            certificate = issuing.device_certificate(
                device_id=device_id,
                public_key=public_key,
                serial_number=serial_number,
                issuer=issuer,
                organization=settings.CERT_SUBJECT_ORGANIZATION,
                country=settings.CERT_SUBJECT_COUNTRY,
                now=now,
                lifetime=timedelta(days=settings.DEFAULT_CERT_VALIDITY_DAYS),
            )
        except PkiError as error:
            raise AuthorityUnavailable(f"No certificate: {error}.") from error
        self.store.stage(
            serials.to_text(serial_number),
            key=keys.to_pem(private_key) if private_key else None,
            certificate=certificate.public_bytes(Encoding.PEM),
        )
        return Signed(certificate, key_made_here=private_key is not None)

    def _make_authority(self, now: datetime, key_type: KeyType) -> None:
        left = read(self.store.ca_key)
        if left is None:
            private_key = keys.generate_for_authority(key_type)
        else:
            private_key = keys.from_pem(left, _passphrase_for(left))
        certificate = issuing.self_signed_authority(
            key=private_key,
            common_name=f"{settings.CERT_SUBJECT_ORGANIZATION} {COMMON_NAME}",
            organization=settings.CERT_SUBJECT_ORGANIZATION,
            country=settings.CERT_SUBJECT_COUNTRY,
            now=now,
            lifetime=timedelta(days=settings.CA_VALIDITY_DAYS),
        )
        self._write_authority(private_key, (certificate,))

    def _write_authority(
        self, key: keys.IssuerPrivateKey, chain: tuple[x509.Certificate, ...]
    ) -> None:
        self.store.prepare()
        if not self.store.ca_key.exists():
            pem = keys.to_pem(key, settings.CA_KEY_PASSPHRASE)
            write(self.store.ca_key, pem, mode=SECRET)
        chain_pem = b"".join(part.public_bytes(Encoding.PEM) for part in chain)
        write(self.store.ca_certificate, chain_pem, mode=PUBLIC)

    def _load(self) -> Issuer:
        try:
            key_pem = self.store.ca_key.read_bytes()
            chain_pem = self.store.ca_certificate.read_bytes()
            key = keys.from_pem(key_pem, _passphrase_for(key_pem))
            chain = tuple(x509.load_pem_x509_certificates(chain_pem))
            return issuing.check_authority(chain, key)
        except (OSError, ValueError, x509.InvalidVersion) as error:
            raise AuthorityUnavailable(f"The CA cannot be used: {error}.") from error


def _passphrase_for(pem: bytes) -> str:
    """The configured passphrase, if the key has one at all."""
    return settings.CA_KEY_PASSPHRASE if b"ENCRYPTED" in pem else ""
