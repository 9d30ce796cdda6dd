"""From a CSR to an active certificate over HTTP, by devices with tokens of their own."""

import json

from django.utils import timezone

from benchmarks import load
from benchmarks.beside import measured
from certificates.models import DeviceCertificate
from certificates.services.certificate_management import CertificateManagementService
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device
from devices.registry.services.credentials import renew_device_token
from tenants.context import tenant_scope
from tenants.models import Tenant

DEVICES = 4_000  # more than can be served in the time: each asks once
SECONDS = 10.0
PORT = 8980


def main() -> None:
    now = timezone.now()
    CertificateManagementService().authority(now=now)
    words = measured(_requests(), port=PORT, seconds=SECONDS)
    made = DeviceCertificate.objects.active().count()
    print(f"enrollment: {words}, {made:,} active (target at least 150/s)")


def _requests() -> list[bytes]:
    now = timezone.now()
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    devices = Device.every_tenant.bulk_create(
        Device(tenant=tenant, name=f"TV-{number}", registered_at=now)
        for number in range(DEVICES)
    )
    requests = []
    with tenant_scope(tenant.pk):
        for device in devices:
            body = json.dumps({"csr": request_for(ec_key())}).encode()
            token = renew_device_token(device, now=now)
            requests.append(load.post("/devices/me/certificate", body, token))
    return requests
