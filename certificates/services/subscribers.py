"""The authority's part in a retirement, and what it does when it hears of something."""

from contextlib import suppress
from datetime import datetime
from uuid import UUID

from certificates.events import CertificateRevoked
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.key_removal import destroy_revoked_key
from devices.registry.errors import NoSuchDevice
from devices.registry.extension_points import when_retiring
from events.extension_points import on


@when_retiring
def retirement_revokes(device_id: UUID, now: datetime) -> None:
    CertificateManagementService().revoke_all_of_device(device_id, now=now)


@on(CertificateRevoked)
def revocation_destroys_the_key(fact: CertificateRevoked) -> None:
    """A key that the server made for a revoked certificate is of no more use."""
    assert fact.device_id is not None
    with suppress(NoSuchDevice):
        destroy_revoked_key(device_id=fact.device_id, serial_number=fact.serial_number)
