"""Certificates for tests, in one line."""

from datetime import datetime
from typing import Any

from certificates.models import DeviceCertificate
from certificates.services.certificate_management import CertificateManagementService
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device


def issued(device: Device, now: datetime, key: Any = None) -> DeviceCertificate:
    """A certificate for a key that the device brought."""
    return CertificateManagementService().issue_certificate(
        device=device, csr_pem=request_for(key or ec_key()), now=now
    )


def revoked(
    row: DeviceCertificate, now: datetime, reason: str = "keyCompromise"
) -> DeviceCertificate:
    return CertificateManagementService().revoke_certificate(
        row, reason=reason, now=now
    )
