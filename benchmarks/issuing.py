"""From a CSR to a stored, filed, active certificate, in one process, without HTTP."""

import time
from datetime import timedelta

from cryptography.hazmat.primitives.serialization import Encoding
from django.utils import timezone

from certificates.pki import issuing, serials
from certificates.pki.issuer import Addresses
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device
from tenants.models import Tenant

CERTIFICATES = 600


def main() -> None:
    now = timezone.now()
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    devices = Device.every_tenant.bulk_create(
        Device(tenant=tenant, name=f"TV-{number}", registered_at=now)
        for number in range(CERTIFICATES)
    )
    requests = [request_for(ec_key()) for _ in devices]
    service = CertificateManagementService()
    service.ca.initialize_ca(now=now)

    begun = time.perf_counter()
    for device, request in zip(devices, requests, strict=True):
        service.issue_certificate(device=device, csr_pem=request, now=now)
    ours = CERTIFICATES / (time.perf_counter() - begun)

    bare = _bare(devices, requests, service.ca)
    print(
        f"issuing: {ours:,.0f}/s; bare signatures {bare:,.0f}/s;"
        f" ratio {ours / bare:.2f} (target at least 200/s)"
    )


def _bare(
    devices: list[Device], requests: list[str], ca: DeviceCertificatesService
) -> float:
    """Parse, prove and sign: no record and no file."""

    now, issuer, service = timezone.now(), ca.issuer(), CertificateManagementService(ca)
    begun = time.perf_counter()
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
    return len(devices) / (time.perf_counter() - begun)
