"""Issuance in one process without HTTP: from a CSR to an active, stored certificate."""

import time
from datetime import timedelta

from cryptography.hazmat.primitives.serialization import Encoding
from django.utils import timezone

from benchmarks.size import size
from benchmarks.stage import reset_data
from certificates.pki import issuing, serials
from certificates.pki.issuer import Addresses
from certificates.pki.keys import KeyType
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device
from tenants.models import Tenant

CERTIFICATES = size(600, quick=50)
KEY_TYPES: tuple[KeyType, ...] = ("rsa", "ec")  # RSA-3072 and P-384


def main() -> None:
    for key_type in KEY_TYPES:
        reset_data()
        _measure(key_type)


def _measure(key_type: KeyType) -> None:
    now = timezone.now()
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    devices = Device.every_tenant.bulk_create(
        Device(tenant=tenant, name=f"TV-{number}", registered_at=now)
        for number in range(CERTIFICATES)
    )
    requests = [request_for(ec_key()) for _ in devices]
    service = CertificateManagementService()
    service.ca.initialize_ca(now=now, key_type=key_type)

    started = time.perf_counter()
    for device, request in zip(devices, requests, strict=True):
        service.issue_certificate(device=device, csr_pem=request, now=now)
    rate = CERTIFICATES / (time.perf_counter() - started)

    bare_rate = _measure_bare_signing(devices, requests, service.ca)
    print(
        f"issuing, {key_type.upper()} key of the CA: {rate:,.0f}/s; bare signatures {bare_rate:,.0f}/s;"
        f" ratio {rate / bare_rate:.2f} (target at least 200/s)"
    )


def _measure_bare_signing(
    devices: list[Device], requests: list[str], ca: DeviceCertificatesService
) -> float:
    """Parse and verify CSRs and sign certificates without storing them. Return the rate."""
    now, issuer, service = timezone.now(), ca.issuer(), CertificateManagementService(ca)
    started = time.perf_counter()
    for device, request in zip(devices, requests, strict=True):
        issuing.device_certificate(
            device_id=device.pk,
            public_key=service.requested_key(request),
            serial_number=serials.random_serial_number(),
            issuer=issuer,
            addresses=Addresses("http://x/1.crl", "http://x/ca.cer"),
            organization="Bench",
            country="IL",
            now=now,
            lifetime=timedelta(days=365),
        ).public_bytes(Encoding.PEM)
    return len(devices) / (time.perf_counter() - started)
