"""Find clones among honest devices through the services and the database.

The devices are simulated in their own time, one connect after the other.
"""

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from benchmarks.size import size
from devices.registry.clones import SHORT_CONNECTION
from devices.registry.device_report import DeviceReport
from devices.registry.errors import DeviceIsQuarantined
from devices.registry.models import Device
from devices.registry.queries import device_of_token
from devices.registry.services import clone_detection, presence
from devices.registry.services.presence import ConnectReport
from devices.registry.services.registration import auto_register
from devices.simulation.identities import SimulatedDevice, cloned_pairs, honest_devices, run
from tenants import tokens
from tenants.context import tenant_scope
from tenants.models import Tenant

HONEST = size(1000, quick=50)
CLONED_PAIRS = 20
DURATION = timedelta(hours=1)
START = datetime(2026, 11, 1, tzinfo=UTC)


class Services:
    """The registry's services, called in the time of the simulation."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.calls = 0
        self.device_ids: dict[str, UUID] = {}
        self.opened: dict[str, datetime] = {}

    def register(self, identity: str, key: str, now: datetime) -> str:
        self.calls += 1
        report = DeviceReport(serial_number=identity)
        try:
            with tenant_scope(self.tenant.pk):
                made = auto_register(report=report, now=now, key_digest=key)
        except DeviceIsQuarantined:
            return "dev_refused"
        self.device_ids[identity] = made.device.pk
        return made.token

    def connect(
        self, token: str, now: datetime, *, boot_id: str | None, report_number: int | None
    ) -> bool:
        self.calls += 1
        match = device_of_token(tokens.digest(token))
        if match is None:
            clone_detection.report_unknown_token(tokens.digest(token), now=now)
            return False
        report = ConnectReport(boot_id=boot_id, report_number=report_number)
        with tenant_scope(self.tenant.pk):
            presence.connect(device=match[1], report=report, now=now)
        return True

    def open_connection(self, identity: str, now: datetime) -> None:
        opened_at = self.opened.get(identity)
        self.opened[identity] = now
        device_id = self.device_ids.get(identity)
        if device_id and opened_at and now - opened_at < SHORT_CONNECTION:
            self.calls += 1
            clone_detection.report_replaced_connection(device_id, now=now)

    def close_connection(self, identity: str) -> None:
        self.opened.pop(identity, None)


def main() -> None:
    server = Services(Tenant.objects.create(slug="bench", name="Bench"))
    seconds, calls = _measure(server, honest_devices(HONEST))
    alarms = Device.every_tenant.quarantined().count()
    print(f"clones: {HONEST} honest devices, {DURATION}: {alarms} quarantined (target 0)")
    pairs = cloned_pairs(CLONED_PAIRS)
    for original, copy in pairs[CLONED_PAIRS // 2 :]:
        token = server.register(original.identity, original.key, START)
        original.store(token)
        copy.store(token)
    clone_seconds, clone_calls = _measure(server, [device for pair in pairs for device in pair])
    found = Device.every_tenant.quarantined().order_by("quarantined_at")
    last = max((device.quarantined_at for device in found if device.quarantined_at), default=START)
    minutes = (last - START) / timedelta(minutes=1)
    print(
        f"clones: {found.count()} of {CLONED_PAIRS} clones found, the last after {minutes:.0f}"
        f" minutes (target {CLONED_PAIRS} within 60)"
    )
    ratio = (seconds / calls) / (clone_seconds / clone_calls)
    print(
        f"clones: {1e6 * seconds / calls:.0f} µs per call of honest devices,"
        f" {1e6 * clone_seconds / clone_calls:.0f} µs of clones; ratio {ratio:.2f}"
    )


def _measure(server: Services, devices: list[SimulatedDevice]) -> tuple[float, int]:
    """Return the seconds that the simulation took, and the number of calls."""
    before, start = server.calls, time.perf_counter()
    run(devices, server, START, DURATION)
    return time.perf_counter() - start, server.calls - before
