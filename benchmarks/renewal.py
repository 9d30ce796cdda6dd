"""Renewal of many certificates: claimed by a task, renewed by workers, fetched by devices."""

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

from benchmarks import client
from benchmarks.size import size
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

DEVICES = size(10_000, quick=300)
CONNECTIONS = 8
PORT = 8981
CERTIFICATE_AGE = timedelta(days=360)  # of 365 days, so that all renewals are due


def main() -> None:
    tokens = _create_devices()
    ids = list(DeviceCertificate.objects.active().values_list("pk", flat=True))
    connection.close()
    command = [str(Path(sys.executable).parent / "celery"), "-A", "provisioning"]
    command += ["worker", "-Q", "prompt,bulk", "-c", "2", "--loglevel", "error"]
    with web("provisioning.rsgi:app", PORT):
        worker = subprocess.Popen(command, cwd=BASE, stderr=subprocess.DEVNULL)
        started = time.perf_counter()
        device_process = _start_devices(tokens)
        next_task_at = started
        while DeviceCertificate.objects.filter(pk__in=ids, status="active").exists():
            if time.perf_counter() >= next_task_at:
                renew_due.delay()  # as beat does every minute
                next_task_at += 60
            time.sleep(1)
        seconds = time.perf_counter() - started
        device_process.terminate()
        worker.terminate()
        worker.wait()
    confirmed = DeviceCertificate.objects.filter(confirmed_at__isnull=False).count()
    print(
        f"renewal: {DEVICES:,} renewed, fetched and acknowledged in {seconds:.0f} s,"
        f" {DEVICES / seconds:,.0f}/s, {confirmed:,} confirmed (target under 300 s)"
    )


def _create_devices() -> list[str]:
    now = timezone.now()
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    service = CertificateManagementService()
    devices = Device.every_tenant.bulk_create(
        Device(tenant=tenant, name=f"TV-{number}", registered_at=now) for number in range(DEVICES)
    )
    tokens = []
    service.authority(now=now - CERTIFICATE_AGE)
    with tenant_scope(tenant.pk):
        for device in devices:
            service.issue_certificate(
                device=device, csr_pem=request_for(ec_key()), now=now - CERTIFICATE_AGE
            )
            tokens.append(renew_device_token(device, now=now))
    return tokens


def _start_devices(tokens: list[str]) -> "multiprocessing.process.BaseProcess":
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_poll_all, args=(tokens,), daemon=True)
    process.start()
    return process


def _poll_all(tokens: list[str]) -> None:
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(_poll, [tokens[part::CONNECTIONS] for part in range(CONNECTIONS)]))


def _poll(tokens: list[str]) -> None:
    """Connect the devices one after the other. Fetch and acknowledge new certificates."""
    serial_numbers = dict.fromkeys(tokens)
    waiting = list(tokens)
    with client.json_client(PORT) as send:
        for token in tokens:
            serial_numbers[token] = send(client.get("/devices/me/certificate", token))[
                "serial_number"
            ]
        while waiting:
            unchanged = []
            for token in waiting:
                response = send(client.post("/devices/connect", b"{}", token))
                serial_number = response["next_steps"]["certificate_serial_number"]
                if serial_number == serial_numbers[token]:
                    unchanged.append(token)
                    continue
                certificate = send(client.get("/devices/me/certificate", token))
                body = json.dumps({"serial_number": certificate["serial_number"]}).encode()
                send(client.post("/devices/me/certificate/acknowledge", body, token))
            waiting = unchanged
            time.sleep(1)  # stay below the rate limit of a device
