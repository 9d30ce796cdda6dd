"""Helpers that issue and revoke device certificates in tests."""

from datetime import datetime
from typing import Any

from certificates.models import DeviceCertificate
from certificates.services.certificate_management import CertificateManagementService
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device


def issue_certificate(device: Device, now: datetime, key: Any = None) -> DeviceCertificate:
    """Issue a certificate for a device-generated key."""
    return CertificateManagementService().issue_certificate(
        device=device, csr_pem=request_for(key or ec_key()), now=now
    )


def revoke_certificate(
    row: DeviceCertificate, now: datetime, reason: str = "keyCompromise"
) -> DeviceCertificate:
    return CertificateManagementService().revoke_certificate(row, reason=reason, now=now)
