"""The life of a device's certificate, over the records of what the authority signed."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings

from certificates.errors import (
    InvalidRequest,
    NoSuchCertificate,
    NotRenewable,
)
from certificates.models import DeviceCertificate
from certificates.pki import csr, keys, serials
from certificates.pki.errors import PkiError
from certificates.pki.issuer import Issuer
from certificates.pki.keys import DevicePublicKey, KeyType
from certificates.services import authorities, handover, issuance, revocation
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.services.expirations import expire_some, in_batches, warn_some
from devices.registry.models import Device

Status = DeviceCertificate.Status
Reason = DeviceCertificate.Reason

MOST_DUE = 20_000  # renewals of one run of the monitor; the next takes the next


@dataclass(frozen=True, slots=True)
class Monitored:
    """What one pass of the monitor did; `due` are the certificates still to be renewed."""

    warned: int
    expired: int
    due: list[UUID]


class CertificateManagementService:
    """Issues, renews, revokes and watches; `now` always comes from the caller."""

    def __init__(self, ca: DeviceCertificatesService | None = None) -> None:
        self.ca = ca or DeviceCertificatesService()

    # --- Issue and renew -------------------------------------------------------------

    def issue_certificate(
        self,
        *,
        device: Device,
        csr_pem: str | None = None,
        key_type: KeyType = "rsa",
        now: datetime,
    ) -> DeviceCertificate:
        """Give a device a certificate; one it has already is superseded by it.

        Args:
            csr_pem: a request for the device's own key; None to have the server make
                one of `key_type`.

        Raises:
            InvalidRequest: the request does not prove an acceptable key.
            KeyInUse: another device has a certificate for this key, or the CA itself.
            DeviceIsRetired: it is.
            AuthorityUnavailable: the CA cannot sign now.
        """
        public_key = None if csr_pem is None else self.requested_key(csr_pem)
        return self._issue(device.pk, public_key, key_type, None, now)

    def renew_certificate(
        self,
        certificate: DeviceCertificate,
        *,
        csr_pem: str | None = None,
        now: datetime,
    ) -> DeviceCertificate:
        """A new certificate in the place of one that is in use.

        A key that the server made is made anew; a key that the device brought is
        signed again. Renewals may race: a certificate has one successor.

        Args:
            csr_pem: a request of the device, for the same key or for another.

        Raises:
            InvalidRequest, KeyInUse: as for the issue.
            NotRenewable: it is not in use, or its successor is being made.
            AuthorityUnavailable: the CA cannot sign now.
        """
        if certificate.status != Status.ACTIVE:
            raise NotRenewable(f"The certificate is {certificate.status}.")
        if certificate.handover_until is not None:
            raise NotRenewable("The certificate has a successor already.")
        if csr_pem is not None:
            requested = self.requested_key(csr_pem)
            return self._issue(certificate.device_id, requested, "ec", certificate, now)
        public_key = certificate.public_key()
        kind = keys.kind_of(public_key)
        made_here = certificate.key_source == DeviceCertificate.KeySource.SERVER
        return self._issue(
            certificate.device_id,
            None if made_here else public_key,
            kind,
            certificate,
            now,
        )

    def requested_key(self, csr_pem: str) -> DevicePublicKey:
        """The key that a request proves, if a certificate may carry it.

        Raises:
            InvalidRequest: says why not.
        """
        try:
            return csr.proven_key(csr_pem)
        except PkiError as error:
            raise InvalidRequest(
                f"The CSR is refused: {error}.", field="csr"
            ) from error

    def _issue(
        self,
        device_id: UUID,
        public_key: DevicePublicKey | None,
        key_type: KeyType,
        renews: DeviceCertificate | None,
        now: datetime,
    ) -> DeviceCertificate:
        """Reserve, commit, sign, stage; then install and activate in one transaction."""
        serial_number = serials.random_serial_number()
        signing = authorities.signing(self.ca, serial_number=serial_number, now=now)
        row = DeviceCertificate(
            device_id=device_id,
            serial_number=serials.to_text(serial_number),
            authority_key_id=signing.issuer.key_identifier.hex(),
            distribution_point_id=signing.list_id,
            key_source="server" if public_key is None else "device",
            reserved_at=now,
            replaces=renews,
        )

        def reserve(key: DevicePublicKey) -> None:
            row.public_key_digest = keys.public_digest(key)
            issuance.reserve(row)

        try:
            signed = self.ca.issue_certificate(
                device_id,
                serial_number=serial_number,
                issuer=signing.issuer,
                addresses=signing.addresses,
                public_key=public_key,
                key_type=key_type,
                now=now,
                signing=reserve,
            )
            return issuance.activate(row, signed, store=self.ca.store, now=now)
        except Exception:
            issuance.bury(row, store=self.ca.store)
            raise

    def authority(self, *, now: datetime) -> Issuer:
        """The CA that signs; made at first use, and never instead of a lost one.

        Raises:
            AuthorityUnavailable: its files are gone, are another CA's, or unusable.
        """
        return authorities.signing_issuer(self.ca, now=now)

    # --- Revoke ----------------------------------------------------------------------

    def revoke_certificate(
        self, certificate: DeviceCertificate, *, reason: str, now: datetime
    ) -> DeviceCertificate:
        """End the trust in a certificate; see `revocation.revoke`."""
        return revocation.revoke(certificate, reason=reason, now=now)

    def revoke_all_of_device(
        self,
        device_id: UUID,
        *,
        reason: str = Reason.CESSATION_OF_OPERATION,
        now: datetime,
    ) -> int:
        """End the trust in all that a device has; see `revocation.revoke_all_of`."""
        return revocation.revoke_all_of(device_id, reason=reason, now=now)

    # --- The monitor -------------------------------------------------------------------

    def check_expirations(self, *, now: datetime) -> Monitored:
        """Say what ended, warn once of what ends soon, and name what is to be renewed.

        Due means "by now", so an outage of any length is caught up with.
        """
        window = timedelta(days=settings.RENEWAL_WARNING_DAYS)
        expired = sum(in_batches(lambda: expire_some(now)))
        for _ in in_batches(lambda: handover.end_some(now)):
            pass
        warned = sum(in_batches(lambda: warn_some(now, window)))
        return Monitored(warned, expired, self.due_for_renewal(now=now))

    def due_for_renewal(self, *, now: datetime) -> list[UUID]:
        """The certificates in their renewal window, so many, the most urgent first."""
        window = timedelta(days=settings.AUTO_RENEWAL_DAYS)
        due = DeviceCertificate.objects.due_for_renewal(now, window)
        urgent = due.order_by("not_after").values_list("pk", flat=True)
        return list(urgent[:MOST_DUE])


def certificate_in_use(device: Device) -> DeviceCertificate:
    """The certificate that a device should use now.

    Raises:
        NoSuchCertificate: it has none.
    """
    active = DeviceCertificate.objects.active().of_device(device.pk)
    found = active.select_related("replaces").first()
    if found is None:
        raise NoSuchCertificate
    return found


def owned_certificate(serial_number: str) -> DeviceCertificate:
    """The current tenant's certificate with this serial number.

    Raises:
        NoSuchCertificate: it is unknown, never signed, or a stranger's.
    """
    written = serials.normalise(serial_number)
    owned = DeviceCertificate.objects.owned().signed().select_related("device")
    found = owned.filter(serial_number=written).first() if written else None
    if found is None:
        raise NoSuchCertificate
    return found


def of_device(certificate: DeviceCertificate, device: Device) -> DeviceCertificate:
    """The certificate, if it is this device's.

    Raises:
        NoSuchCertificate: it is another's.
    """
    if certificate.device_id != device.pk:
        raise NoSuchCertificate
    return certificate
