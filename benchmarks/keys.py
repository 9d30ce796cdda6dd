"""Renewals whose RSA keys the server makes, over both cores, beside making the keys alone."""

import multiprocessing
import time
from collections.abc import Callable

from django.db import connection
from django.utils import timezone

from certificates.pki import keys
from certificates.services.certificate_management import CertificateManagementService
from devices.registry.models import Device
from tenants.context import every_tenant_scope
from tenants.models import Tenant

RENEWALS = 1_200  # keys take their time by chance: fewer would say little
CORES = 2
PROCESSES = 6  # three to a core: each waits for the disk now and then, keys or not


def main() -> None:
    now = timezone.now()
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    service = CertificateManagementService()
    service.authority(now=now)
    devices = Device.every_tenant.bulk_create(
        Device(tenant=tenant, name=f"TV-{number}", registered_at=now)
        for number in range(RENEWALS)
    )
    for device in devices:  # quick ones; it is the renewal that makes RSA keys
        service.issue_certificate(device=device, key_type="ec", now=now)
    connection.close()
    shares = [devices[part::PROCESSES] for part in range(PROCESSES)]

    bare = _together(_make_keys, shares)
    ours = _together(_renew, shares)
    print(
        f"keys: {RENEWALS / ours:,.0f} renewals with RSA keys a second on {CORES} cores,"
        f" {10_000 / RENEWALS * ours / 60:.1f} minutes for 10,000; keys alone"
        f" {RENEWALS / bare:,.0f}/s; ratio {ours / bare:.2f} (target at most 1.2)"
    )


def _together(
    work: Callable[[list[Device]], None], shares: list[list[Device]]
) -> float:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=(share,)) for share in shares]
    begun = time.perf_counter()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return time.perf_counter() - begun


def _make_keys(share: list[Device]) -> None:
    for _ in share:
        keys.generate("rsa", rsa_bits=2048)


def _renew(share: list[Device]) -> None:
    service = CertificateManagementService()
    with every_tenant_scope():
        for device in share:
            service.issue_certificate(device=device, now=timezone.now())
