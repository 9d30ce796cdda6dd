"""Build and store a complete revocation list of 100,000 entries."""

import time
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.utils import timezone

from benchmarks.size import size
from certificates.models import DeviceCertificate, RevocationList
from certificates.pki import crl, serials
from certificates.services import revocation_lists
from certificates.services.certificate_management import CertificateManagementService
from devices.registry.models import Device
from tenants.models import Tenant

REVOKED = size(100_000, quick=10_000)
BATCH = 5_000


def main() -> None:
    now = timezone.now()
    service = CertificateManagementService()
    issuer = service.authority(now=now)
    _create_revoked_certificates(issuer.key_identifier.hex())
    row = RevocationList.objects.get(slot=None)

    started = time.perf_counter()
    revocation_list = revocation_lists.build(row.pk, issuer, now=now)
    seconds = time.perf_counter() - started

    entries = [
        crl.Entry(int(number, 16), now, "keyCompromise")
        for number in DeviceCertificate.objects.values_list("serial_number", flat=True)
    ]
    started = time.perf_counter()
    bare_list = crl.revocation_list(
        issuer=issuer,
        number=1,
        entries=entries,
        distribution_point=None,
        this_update=now,
        next_update=now + timedelta(days=7),
    )
    bare_seconds = time.perf_counter() - started
    assert len(bare_list) == revocation_list.entries == REVOKED
    size = len(bare_list.public_bytes(Encoding.DER)) / 1e6
    assert x509.load_der_x509_crl(bytes(revocation_list.der))
    print(
        f"revocation: {REVOKED:,} entries in {seconds:.2f} s, {size:.1f} MB; bare encoding"
        f" and signature {bare_seconds:.2f} s; ratio {seconds / bare_seconds:.2f} (target under 2 s)"
    )


def _create_revoked_certificates(key_identifier: str) -> None:
    now = timezone.now()
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    device = Device.every_tenant.create(tenant=tenant, name="TV", registered_at=now)
    for start in range(0, REVOKED, BATCH):
        DeviceCertificate.objects.bulk_create(
            DeviceCertificate(
                device=device,
                serial_number=serials.to_text(serials.random_serial_number()),
                authority_key_id=key_identifier,
                status="revoked",
                key_source="device",
                public_key_digest=f"{start + number:064x}",
                fingerprint=f"{start + number:064x}",
                pem="-",
                not_before=now,
                not_after=now + timedelta(days=365),
                reserved_at=now,
                issued_at=now,
                revoked_at=now,
                revocation_reason="keyCompromise",
            )
            for number in range(BATCH)
        )
