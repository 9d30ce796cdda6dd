"""A fleet's renewal: claimed by beat's task, renewed by workers, fetched by its devices."""

import json
import multiprocessing
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from django.db import connection
from django.utils import timezone

from benchmarks import load
from benchmarks.stage import web
from certificates.models import DeviceCertificate
from certificates.services.certificate_management import CertificateManagementService
from certificates.tasks import renew_due
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device
from devices.registry.services.credentials import renew_device_token
from provisioning.var import BASE
from tenants.context import tenant_scope
from tenants.models import Tenant

DEVICES = 10_000
CONNECTIONS = 8
PORT = 8981
NEARLY_OVER = timedelta(days=360)


def main() -> None:
    tokens = _fleet()
    ids = list(DeviceCertificate.objects.active().values_list("pk", flat=True))
    connection.close()
    command = [str(Path(sys.executable).parent / "celery"), "-A", "provisioning"]
    command += ["worker", "-Q", "prompt,bulk", "-c", "2", "--loglevel", "error"]
    with web("provisioning.rsgi:app", PORT):
        worker = subprocess.Popen(command, cwd=BASE, stderr=subprocess.DEVNULL)
        begun = time.perf_counter()
        fetched = _devices_at_work(tokens)
        sent = begun
        while DeviceCertificate.objects.filter(pk__in=ids, status="active").exists():
            if time.perf_counter() >= sent:
                renew_due.delay()  # as beat does each minute
                sent += 60
            time.sleep(1)
        spent = time.perf_counter() - begun
        fetched.terminate()
        worker.terminate()
        worker.wait()
    confirmed = DeviceCertificate.objects.filter(confirmed_at__isnull=False).count()
    print(
        f"renewal: {DEVICES:,} renewed, fetched and acknowledged in {spent:.0f} s,"
        f" {DEVICES / spent:,.0f}/s, {confirmed:,} confirmed (target under 300 s)"
    )


def _fleet() -> list[str]:
    now = timezone.now()
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    service = CertificateManagementService()
    devices = Device.every_tenant.bulk_create(
        Device(tenant=tenant, name=f"TV-{number}", registered_at=now)
        for number in range(DEVICES)
    )
    tokens = []
    service.authority(now=now - NEARLY_OVER)
    with tenant_scope(tenant.pk):
        for device in devices:
            service.issue_certificate(
                device=device, csr_pem=request_for(ec_key()), now=now - NEARLY_OVER
            )
            tokens.append(renew_device_token(device, now=now))
    return tokens


def _devices_at_work(tokens: list[str]) -> "multiprocessing.process.BaseProcess":
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_all_poll, args=(tokens,), daemon=True)
    process.start()
    return process


def _all_poll(tokens: list[str]) -> None:
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(
            pool.map(_poll, [tokens[part::CONNECTIONS] for part in range(CONNECTIONS)])
        )


def _poll(tokens: list[str]) -> None:
    """Connect in turn; whoever is told of another certificate fetches and acknowledges it."""
    held = dict.fromkeys(tokens)
    waiting = list(tokens)
    with load.connected(PORT) as ask:
        for token in tokens:
            held[token] = ask(load.get("/devices/me/certificate", token))[
                "serial_number"
            ]
        while waiting:
            still = []
            for token in waiting:
                told = ask(load.post("/devices/connect", b"{}", token))
                serial = told["next_steps"]["certificate_serial_number"]
                if serial == held[token]:
                    still.append(token)
                    continue
                fresh = ask(load.get("/devices/me/certificate", token))
                body = json.dumps({"serial_number": fresh["serial_number"]}).encode()
                ask(load.post("/devices/me/certificate/acknowledge", body, token))
            waiting = still
            time.sleep(1)  # a device may not ask as often as it likes
