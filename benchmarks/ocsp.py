"""`POST /certificates/ocsp` through the whole stack, for many certificates."""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from django.utils import timezone

from benchmarks import client
from benchmarks.beside import compare_with_bare_update
from benchmarks.size import size
from certificates.services.certificate_management import CertificateManagementService
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device
from tenants.models import Tenant

CERTIFICATES = size(500, quick=50)
SECONDS = size(8.0, quick=1.0)
PORT = 8979


def main() -> None:
    summary = compare_with_bare_update(_requests(), port=PORT, seconds=SECONDS)
    print(f"ocsp: {summary} (target at least 5,000/s)")


def _requests() -> list[bytes]:
    now, service = timezone.now(), CertificateManagementService()
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    devices = Device.every_tenant.bulk_create(
        Device(tenant=tenant, name=f"TV-{number}", registered_at=now)
        for number in range(CERTIFICATES)
    )
    requests = []
    for device in devices:
        row = service.issue_certificate(device=device, csr_pem=request_for(ec_key()), now=now)
        certificates = (row.signed_certificate(), service.ca.issuer().certificate)
        builder = ocsp.OCSPRequestBuilder().add_certificate(*certificates, hashes.SHA256())
        der = builder.build().public_bytes(Encoding.DER)
        requests.append(client.post("/certificates/ocsp", der))
    return requests
