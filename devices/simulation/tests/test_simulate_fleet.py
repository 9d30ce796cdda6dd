"""Tests of simulated devices against a running server."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from certificates.models import DeviceCertificate
from devices.configurations.models import ReportedConfiguration
from devices.configurations.tests.documents import save_for_tenant
from devices.metrics.models import DeviceMetrics
from devices.preferences.services import definitions
from devices.registry.models import Device, DeviceToken
from devices.registry.services import credentials
from devices.registry.tests.waiting import wait_until
from devices.simulation.device import FleetTiming
from devices.simulation.fleet import Fleet
from devices.simulation.run_statistics import RunStatistics
from provisioning.var import BASE
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Tenant
from tenants.tests.factories import TenantFactory

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("partitions_dropped"),
]
FAST_PACE = FleetTiming(
    connect_every=0.2, report_every=0.2, start_within=0.2, silence_probability=0.0, use_push=False
)


@pytest.fixture(autouse=True)
def disable_rate_limits(settings: Any) -> None:
    """Disable rate limits, because the devices connect very often."""
    settings.RATES = dict.fromkeys(settings.RATES)


@pytest.fixture
def tenant() -> Tenant:
    return TenantFactory.create()


@pytest.fixture
def enrollment_token(tenant: Tenant) -> str:
    with tenant_scope(tenant.pk):
        _, token = credentials.create_enrollment_token(name="fleet", now=datetime.now(UTC))
    return token


def run_fleet(
    url: str, token: str, *, pace: FleetTiming = FAST_PACE, seconds: float = 3
) -> RunStatistics:
    """Run three devices for some seconds."""
    fleet = Fleet(
        url=url,
        enrollment_token=token,
        devices=3,
        seed="t",
        pace=pace,
        now=lambda: datetime.now(UTC),
    )
    tally = RunStatistics()
    asyncio.run(fleet.run(tally, seconds))
    return tally


def failed_requests(tally: RunStatistics) -> dict[str, int]:
    return {name: kind.failed for name, kind in tally.kinds.items() if kind.failed}


def test_devices_register_enroll_connect_and_report(
    live_server: Any, enrollment_token: str
) -> None:
    tally = run_fleet(live_server.url, enrollment_token)
    assert failed_requests(tally) == {}
    names = Device.every_tenant.order_by("name").values_list("name", "status")
    assert list(names) == [(f"SIM-t-{n:06}", "online") for n in range(3)]
    assert DeviceCertificate.objects.filter(status="active").count() == 3
    assert DeviceMetrics.every_tenant.values("device_id").distinct().count() == 3
    assert tally.kinds["connect"].answered > 5
    assert tally.as_json_values()["devices"] == {"online": 3}


def test_the_same_seed_gives_the_same_devices(live_server: Any, enrollment_token: str) -> None:
    for _ in range(2):
        tally = run_fleet(live_server.url, enrollment_token, seconds=1.5)
    assert tally.kinds["register"].statuses == {200: 3}
    assert Device.every_tenant.count() == 3
    assert not Device.every_tenant.filter(quarantined_at__isnull=False).exists()


def test_devices_follow_the_next_steps_of_connect(
    live_server: Any, enrollment_token: str, tenant: Tenant
) -> None:
    now = datetime.now(UTC)
    save_for_tenant(tenant, {"volume": 5}, now=now)
    with tenant_scope(tenant.pk):
        definitions.define(key="size", kind="integer", default=5, now=now)
    tally = run_fleet(live_server.url, enrollment_token)
    applied = ReportedConfiguration.every_tenant.filter(outcome="applied")
    assert applied.count() == 3
    assert tally.kinds["configuration"].statuses == {200: 3}  # once per device
    assert tally.kinds["settings"].statuses == {200: 3}


def test_a_device_with_a_deleted_token_registers_again(
    live_server: Any, enrollment_token: str
) -> None:
    pace = FleetTiming(**{**_fields(FAST_PACE), "connect_every": 0.5})

    async def run() -> RunStatistics:
        tally = RunStatistics()
        fleet = Fleet(
            url=live_server.url,
            enrollment_token=enrollment_token,
            devices=1,
            seed="void",
            pace=pace,
            now=lambda: datetime.now(UTC),
        )
        running = asyncio.create_task(fleet.run(tally, 120))
        async with asyncio.timeout(120):
            while "connect" not in tally.kinds:
                await asyncio.sleep(0.1)
            await asyncio.to_thread(_delete_tokens)
            while 200 not in tally.kinds["register"].statuses:
                await asyncio.sleep(0.1)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        return tally

    tally = asyncio.run(run())
    assert sum(kind.statuses[401] for kind in tally.kinds.values()) == 1
    assert tally.kinds["register"].statuses == {201: 1, 200: 1}


def test_new_devices_report_their_history(live_server: Any, enrollment_token: str) -> None:
    pace = FleetTiming(**{**_fields(FAST_PACE), "history": timedelta(hours=2)})
    run_fleet(live_server.url, enrollment_token, pace=pace, seconds=2)
    history_rows = DeviceMetrics.every_tenant.filter(
        recorded_at__lt=datetime.now(UTC) - timedelta(minutes=4)
    )
    assert history_rows.count() == 3 * 24


def test_a_device_goes_silent_and_comes_back(live_server: Any, enrollment_token: str) -> None:
    pace = FleetTiming(
        **{**_fields(FAST_PACE), "silence_probability": 0.5, "silence_seconds": (0.3, 0.4)}
    )
    tally = run_fleet(live_server.url, enrollment_token, pace=pace)
    assert failed_requests(tally) == {}
    assert tally.kinds["connect"].answered > 3


def test_devices_keep_running_while_the_server_is_unreachable() -> None:
    tally = run_fleet("http://127.0.0.1:9", "enr_x", seconds=1)
    assert tally.kinds["register"].statuses == {0: 3}


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"{}", b"[]", b"\xff", b'{"token": 5}'])
def test_devices_keep_running_after_an_unexpected_response(body: bytes) -> None:
    class Proxy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Discard the log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        tally = run_fleet(f"http://127.0.0.1:{server.server_port}", "enr_x", seconds=1)
        server.shutdown()
    assert tally.kinds["register"].statuses.total() == 3
    assert not tally.states["online"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--history", "nan"], "--history must be from 0"),
        (["--url", "localhost"], "--url must be an HTTP URL"),
        (["--token", "dev_x"], "--token must be an enrollment token"),
        (["--devices", "0"], "--devices must be from 1"),
        (["--seconds", "-1"], "more than 0"),
        (["--seed", "a b"], "--seed must have 1 to 32 letters"),
        (["--silence", "2"], "--silence must be from 0 to 1"),
        (["--history", "10000"], "--history must be from 0"),
    ],
)
def test_invalid_options_are_rejected(options: list[str], message: str) -> None:
    required_options = ["--url", "http://localhost:1", "--token", "enr_x", "--seconds", "1"]
    with pytest.raises(CommandError, match=message):
        call_command("simulate_fleet", *required_options, *options)


def test_an_interrupted_run_prints_its_statistics(live_server: Any, enrollment_token: str) -> None:
    options = ["--url", live_server.url, "--devices", "2", "--connect-every", "0.5"]
    process = subprocess.Popen(
        [sys.executable, "manage.py", "simulate_fleet", *options, "--json"],
        cwd=BASE,
        env={**os.environ, "ENROLLMENT_TOKEN": enrollment_token},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    reporting_devices = DeviceMetrics.every_tenant.values("device_id").distinct()
    wait_until(lambda: reporting_devices.count() == 2, timeout=60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert json.loads(out)["requests"]["register"]["statuses"] == {"201": 2}


def _fields(pace: FleetTiming) -> dict[str, Any]:
    return {name: getattr(pace, name) for name in pace.__slots__}


def _delete_tokens() -> None:
    """Delete all device tokens. Runs in a thread without a tenant context."""
    with every_tenant_scope():
        DeviceToken.every_tenant.all().delete()
    connection.close()
