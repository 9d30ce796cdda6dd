"""Reactions of this app to device retirements and domain events."""

from contextlib import suppress
from datetime import datetime
from uuid import UUID

from certificates.events import CertificateRevoked
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.key_removal import destroy_revoked_key
from devices.registry.errors import DeviceNotFound
from events.extension_points import on


def revoke_certificates_of_retired_device(device_id: UUID, now: datetime) -> None:
    CertificateManagementService().revoke_all_of_device(device_id, now=now)


@on(CertificateRevoked)
def destroy_key_of_revoked_certificate(event: CertificateRevoked) -> None:
    """Remove the server-generated private key of a revoked certificate."""
    assert event.device_id is not None
    with suppress(DeviceNotFound):
        destroy_revoked_key(device_id=event.device_id, serial_number=event.serial_number)
