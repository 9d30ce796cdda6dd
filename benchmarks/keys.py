"""Measure renewals with server-generated RSA keys, compared with key generation only."""

import multiprocessing
import time
from collections.abc import Callable

from django.db import connection
from django.utils import timezone

from benchmarks.size import size
from certificates.pki import keys
from certificates.services.certificate_management import CertificateManagementService
from devices.registry.models import Device
from tenants.context import every_tenant_scope
from tenants.models import Tenant

RENEWALS = size(1_200, quick=60)  # many, because the duration of key generation varies at random
CORES = 2
PROCESSES = 6  # three per core, because a process also waits for the disk


def main() -> None:
    now = timezone.now()
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    service = CertificateManagementService()
    service.authority(now=now)
    devices = Device.every_tenant.bulk_create(
        Device(tenant=tenant, name=f"TV-{number}", registered_at=now) for number in range(RENEWALS)
    )
    for device in devices:  # EC keys are fast; the renewals generate RSA keys
        service.issue_certificate(device=device, key_type="ec", now=now)
    connection.close()
    shares = [devices[part::PROCESSES] for part in range(PROCESSES)]

    key_seconds = _run_in_parallel(_make_keys, shares)
    renewal_seconds = _run_in_parallel(_renew, shares)
    print(
        f"keys: {RENEWALS / renewal_seconds:,.0f} renewals with RSA keys a second on {CORES} cores,"
        f" {10_000 / RENEWALS * renewal_seconds / 60:.1f} minutes for 10,000; key generation only"
        f" {RENEWALS / key_seconds:,.0f}/s; ratio {renewal_seconds / key_seconds:.2f} (target at most 1.2)"
    )


def _run_in_parallel(work: Callable[[list[Device]], None], shares: list[list[Device]]) -> float:
    """Run `work` in one process per share of the devices. Return the seconds until all end."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=(share,)) for share in shares]
    started = time.perf_counter()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return time.perf_counter() - started


def _make_keys(share: list[Device]) -> None:
    for _ in share:
        keys.generate("rsa", rsa_bits=2048)


def _renew(share: list[Device]) -> None:
    service = CertificateManagementService()
    with every_tenant_scope():
        for device in share:
            service.issue_certificate(device=device, now=timezone.now())
