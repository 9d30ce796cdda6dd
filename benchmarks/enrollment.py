"""Enrollment over HTTP: from a CSR to an active certificate, one token per device."""

import json

from django.utils import timezone

from benchmarks import client
from benchmarks.beside import compare_with_bare_update
from benchmarks.size import size
from benchmarks.stage import reset_data
from certificates.models import DeviceCertificate
from certificates.pki.keys import KeyType
from certificates.services.certificate_management import CertificateManagementService
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device
from devices.registry.services.credentials import renew_device_token
from tenants.context import tenant_scope
from tenants.models import Tenant

# One request per device; more than the server can handle in the time.
DEVICES = size(4_000, quick=1_000)
SECONDS = size(10.0, quick=1.0)
PORT = 8980
KEY_TYPES: tuple[KeyType, ...] = ("rsa", "ec")  # RSA-3072 and P-384


def main() -> None:
    for key_type in KEY_TYPES:
        reset_data()
        CertificateManagementService().ca.initialize_ca(now=timezone.now(), key_type=key_type)
        summary = compare_with_bare_update(_requests(), port=PORT, seconds=SECONDS)
        active = DeviceCertificate.objects.active().count()
        print(
            f"enrollment, {key_type.upper()} key of the CA: {summary}, {active:,} active"
            " (target at least 400/s)"
        )


def _requests() -> list[bytes]:
    now = timezone.now()
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    devices = Device.every_tenant.bulk_create(
        Device(tenant=tenant, name=f"TV-{number}", registered_at=now) for number in range(DEVICES)
    )
    requests = []
    with tenant_scope(tenant.pk):
        for device in devices:
            body = json.dumps({"csr": request_for(ec_key())}).encode()
            token = renew_device_token(device, now=now)
            requests.append(client.post("/devices/me/certificate", body, token))
    return requests
