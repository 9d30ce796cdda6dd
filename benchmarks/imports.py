"""An import of a file of devices, compared with inserting the same rows without checks."""

import time

from django.utils import timezone

from benchmarks.size import size
from devices.imports.models import DeviceImport
from devices.imports.services import imports, work
from devices.registry.models import Device, DeviceIdentifier
from tenants.context import tenant_scope
from tenants.models import Tenant

ROWS = size(10_000, quick=500)
LINE = "SN-{0:06},A8:00:00:{1:02x}:{2:02x}:{3:02x},Screen {0},X96,lobby\n"


def main() -> None:
    tenant, other = (Tenant.objects.create(slug=slug, name=slug) for slug in ("bench", "bare"))
    lines = [LINE.format(n, n >> 16, n >> 8 & 255, n & 255) for n in range(ROWS)]
    content = ("serial_number,mac_addresses,name,model,tags\n" + "".join(lines)).encode()
    with tenant_scope(other.pk):
        bare = _insert_bare()
    with tenant_scope(tenant.pk):
        check, run = _import(content)
        again_check, again = _import(content)
    print(
        f"imports: {ROWS:,} new devices: checked in {check:.1f} s, imported in {run:.1f} s; bare"
        f" inserts {bare:.1f} s; ratio {(check + run) / bare:.1f} (target at most 60 s together)"
    )
    print(
        f"imports: the same file again: checked in {again_check:.1f} s, imported in {again:.1f} s"
    )


def _import(content: bytes) -> tuple[float, float]:
    """Return the seconds for the check and for the import."""
    row = imports.create(by=None, now=timezone.now())
    imports.receive(device_import=row, file_name="bench", content=content, now=timezone.now())
    row = imports.check(device_import=row, now=timezone.now())
    check = _work(row)
    row = imports.start(device_import=row, now=timezone.now())
    return check, _work(row)


def _work(row: DeviceImport) -> float:
    began = time.perf_counter()
    work.work_on(row, now=timezone.now, time_is_up=lambda: False)
    row.refresh_from_db()
    return time.perf_counter() - began


def _insert_bare() -> float:
    """Insert devices with two identifiers each, in one transaction per device."""
    began = time.perf_counter()
    for number in range(ROWS):
        device = Device.objects.create(name=f"Bare {number}", registered_at=timezone.now())
        for kind in ("serial_number", "mac_address"):
            DeviceIdentifier.objects.create(device=device, kind=kind, value=f"{kind}-{number}")
    return time.perf_counter() - began
