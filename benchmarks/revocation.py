"""A complete revocation list of 100,000 entries: from the rows to the served list."""

import time
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.utils import timezone

from certificates.models import DeviceCertificate, RevocationList
from certificates.pki import crl, serials
from certificates.services import revocation_lists
from certificates.services.certificate_management import CertificateManagementService
from devices.registry.models import Device
from tenants.models import Tenant

REVOKED = 100_000
BATCH = 5_000


def main() -> None:
    now = timezone.now()
    service = CertificateManagementService()
    issuer = service.authority(now=now)
    _revoke(issuer.key_identifier.hex())
    row = RevocationList.objects.get(slot=None)

    begun = time.perf_counter()
    built = revocation_lists.build(row.pk, issuer, now=now)
    ours = time.perf_counter() - begun

    entries = [
        crl.Entry(int(number, 16), now, "keyCompromise")
        for number in DeviceCertificate.objects.values_list("serial_number", flat=True)
    ]
    begun = time.perf_counter()
    signed = crl.revocation_list(
        issuer=issuer,
        number=1,
        entries=entries,
        distribution_point=None,
        this_update=now,
        next_update=now + timedelta(days=7),
    )
    bare = time.perf_counter() - begun
    assert len(signed) == built.entries == REVOKED
    size = len(signed.public_bytes(Encoding.DER)) / 1e6
    assert x509.load_der_x509_crl(bytes(built.der))
    print(
        f"revocation: {REVOKED:,} entries in {ours:.2f} s, {size:.1f} MB; bare encoding"
        f" and signature {bare:.2f} s; ratio {ours / bare:.2f} (target under 2 s)"
    )


def _revoke(key_identifier: str) -> None:
    now = timezone.now()
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    device = Device.every_tenant.create(tenant=tenant, name="TV", registered_at=now)
    for begin in range(0, REVOKED, BATCH):
        DeviceCertificate.objects.bulk_create(
            DeviceCertificate(
                device=device,
                serial_number=serials.to_text(serials.random_serial_number()),
                authority_key_id=key_identifier,
                status="revoked",
                key_source="device",
                public_key_digest=f"{begin + number:064x}",
                fingerprint=f"{begin + number:064x}",
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
