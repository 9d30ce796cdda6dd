"""Issuing, renewing, revoking and monitoring device certificates."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings

from certificates import queries
from certificates.errors import InvalidRequest, NoSuchCertificate, NotRenewable
from certificates.models import DeviceCertificate
from certificates.pki import csr, keys, serials
from certificates.pki.errors import PkiError
from certificates.pki.issuer import Issuer
from certificates.pki.keys import DevicePublicKey, KeyType
from certificates.services import authorities, handover, issuance, revocation
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.services.expirations import expire_batch, in_batches, warn_batch
from certificates.services.renewal_windows import window_of
from core.querysets import first_or_raise
from devices.registry.models import Device

Status = DeviceCertificate.Status
Reason = DeviceCertificate.Reason

MAX_DUE = 20_000  # certificates returned by one run; the next run returns the rest


@dataclass(frozen=True, slots=True)
class ExpirationCheck:
    """The result of `check_expirations`. `due` contains the ids of the certificates to renew."""

    warned: int
    expired: int
    due: list[UUID]


class CertificateManagementService:
    """Issue, renew, revoke and monitor certificates."""

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
        """Issue a certificate that replaces the current certificate of a device.

        If the certificate in use has the same key and is not due for renewal, it is returned
        instead. So a device that repeats its request has one certificate.

        Args:
            csr_pem: a CSR for the device's own key, in PEM; None to let the server
                generate a key of `key_type`.

        Raises:
            InvalidRequest: the CSR is invalid or its key is not acceptable.
            KeyInUse: another device or a CA uses this key.
            DeviceIsRetired: the device is retired.
            AuthorityUnavailable: the CA cannot sign now.
        """
        public_key = None if csr_pem is None else self.requested_key(csr_pem)
        if public_key is not None:
            known = queries.active_certificate_of_key(device.pk, keys.public_digest(public_key))
            current = None if known is None else DeviceCertificate.objects.get(pk=known)
            if current is not None and window_of(current, now=now).start > now:
                return current
        return self._issue(device.pk, public_key, key_type, None, now)

    def renew_certificate(
        self, certificate: DeviceCertificate, *, csr_pem: str | None = None, now: datetime
    ) -> DeviceCertificate:
        """Issue the successor of a certificate in use.

        Without a CSR, a server-generated key is replaced by a new key, and a
        device-generated key is kept. If several renewals run at once, only one succeeds.

        Args:
            csr_pem: a CSR of the device in PEM, for the same key or another one.

        Raises:
            InvalidRequest: the CSR is invalid or its key is not acceptable.
            KeyInUse: another device or a CA uses this key.
            NotRenewable: the certificate is not in use, has a successor, or is already
                being renewed.
            DeviceIsRetired: the device is retired.
            AuthorityUnavailable: the CA cannot sign now.
        """
        if certificate.status != Status.ACTIVE:
            raise NotRenewable(f"The certificate is {certificate.status}.")
        if certificate.handover_until is not None:
            raise NotRenewable("The certificate already has a successor.")
        if csr_pem is not None:
            requested = self.requested_key(csr_pem)
            return self._issue(certificate.device_id, requested, "ec", certificate, now)
        public_key = certificate.public_key()
        key_type = keys.kind_of(public_key)
        from_server = certificate.key_source == DeviceCertificate.KeySource.SERVER
        return self._issue(
            certificate.device_id, None if from_server else public_key, key_type, certificate, now
        )

    def requested_key(self, csr_pem: str) -> DevicePublicKey:
        """Verify the proof of possession of a CSR and return its public key.

        Raises:
            InvalidRequest: the CSR is invalid or its key is not acceptable.
        """
        try:
            return csr.verified_public_key(csr_pem)
        except PkiError as error:
            raise InvalidRequest(f"The CSR is invalid: {error}.", field="csr") from error

    def _issue(
        self,
        device_id: UUID,
        public_key: DevicePublicKey | None,
        key_type: KeyType,
        renews: DeviceCertificate | None,
        now: datetime,
    ) -> DeviceCertificate:
        """Issue a certificate in two transactions.

        Reserve the certificate and commit. Sign it and write it to the staging folder. Then
        install and activate it in one transaction.
        """
        serial_number = serials.random_serial_number()
        context = authorities.signing_context(self.ca, serial_number=serial_number, now=now)
        row = DeviceCertificate(
            device_id=device_id,
            serial_number=serials.to_text(serial_number),
            authority_key_id=context.issuer.key_identifier.hex(),
            distribution_point_id=context.list_id,
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
                issuer=context.issuer,
                addresses=context.addresses,
                public_key=public_key,
                key_type=key_type,
                now=now,
                signing=reserve,
            )
            return issuance.activate(row, signed, store=self.ca.store, now=now)
        except Exception:  # whatever failed, the reserved serial number must not stay pending
            issuance.bury(row, store=self.ca.store)
            raise

    def authority(self, *, now: datetime) -> Issuer:
        """Return the signing CA; see `authorities.signing_issuer`."""
        return authorities.signing_issuer(self.ca, now=now)

    # --- Revoke ----------------------------------------------------------------------

    def revoke_certificate(
        self, certificate: DeviceCertificate, *, reason: str, now: datetime
    ) -> DeviceCertificate:
        """Revoke a certificate; see `revocation.revoke`."""
        return revocation.revoke(certificate, reason=reason, now=now)

    def revoke_all_of_device(
        self, device_id: UUID, *, reason: str = Reason.CESSATION_OF_OPERATION, now: datetime
    ) -> int:
        """Revoke all certificates of a device; see `revocation.revoke_all_of_device`."""
        return revocation.revoke_all_of_device(device_id, reason=reason, now=now)

    # --- Monitor -----------------------------------------------------------------------

    def check_expirations(self, *, now: datetime) -> ExpirationCheck:
        """Process all time-based changes of certificates that are due.

        Mark ended certificates as expired, end handovers that are over, publish renewal
        warnings, and return the certificates to renew. A change is due if its time is
        `<= now`, so the first run after an outage makes all missed changes.
        """
        window = timedelta(days=settings.RENEWAL_WARNING_DAYS)
        expired = sum(in_batches(lambda: expire_batch(now)))
        for _ in in_batches(lambda: handover.end_overdue_handovers(now)):
            pass
        warned = sum(in_batches(lambda: warn_batch(now, window)))
        return ExpirationCheck(warned, expired, self.due_for_renewal(now=now))

    def due_for_renewal(self, *, now: datetime) -> list[UUID]:
        """Return up to `MAX_DUE` certificates to renew, ordered by their end of validity."""
        window = timedelta(days=settings.AUTO_RENEWAL_DAYS)
        due = DeviceCertificate.objects.due_for_renewal(now, window)
        ordered = due.order_by("not_after").values_list("pk", flat=True)
        return list(ordered[:MAX_DUE])


def certificate_in_use(device: Device) -> DeviceCertificate:
    """Return the certificate that a device should use now.

    Raises:
        NoSuchCertificate: the device has no such certificate.
    """
    active = DeviceCertificate.objects.active().of_device(device.pk)
    return first_or_raise(active.select_related("replaces"), NoSuchCertificate)


def owned_certificate(serial_number: str) -> DeviceCertificate:
    """Return the current tenant's certificate with this serial number.

    Args:
        serial_number: hexadecimal, in any form that `serials.normalise` accepts.

    Raises:
        NoSuchCertificate: the certificate does not exist, was never signed, or belongs to
            another tenant.
    """
    normalised = serials.normalise(serial_number)
    owned = DeviceCertificate.objects.of_current_tenant().signed().select_related("device")
    certificate = owned.filter(serial_number=normalised).first() if normalised else None
    if certificate is None:
        raise NoSuchCertificate
    return certificate


def of_device(certificate: DeviceCertificate, device: Device) -> DeviceCertificate:
    """Return the given certificate if it belongs to the given device.

    Raises:
        NoSuchCertificate: the certificate belongs to another device.
    """
    if certificate.device_id != device.pk:
        raise NoSuchCertificate
    return certificate
