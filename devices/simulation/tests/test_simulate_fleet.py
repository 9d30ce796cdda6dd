"""Simulated boxes at a real server: they register, enroll, connect, report and obey."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from certificates.models import DeviceCertificate
from devices.configurations.models import ReportedConfiguration
from devices.configurations.tests.documents import for_tenant
from devices.metrics.models import DeviceMetrics
from devices.preferences.services import connect_response, definitions
from devices.registry.models import Device, DeviceToken
from devices.registry.services import credentials
from devices.registry.tests.waiting import until
from devices.simulation.device import Pace
from devices.simulation.fleet import Fleet
from devices.simulation.tally import Tally
from provisioning.var import BASE
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Tenant
from tenants.tests.factories import TenantFactory

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("pieces_dropped"),
]
QUICK = Pace(
    connect_every=0.2, report_every=0.2, start_within=0.2, silence=0.0, listens=False
)


@pytest.fixture(autouse=True)
def unlimited(settings: Any) -> None:
    """Boxes that knock so often would be slowed down."""
    settings.RATES = dict.fromkeys(settings.RATES)


@pytest.fixture
def tenant() -> Tenant:
    made: Tenant = TenantFactory.create()
    return made


@pytest.fixture
def enrollment_token(tenant: Tenant) -> str:
    with tenant_scope(tenant.pk):
        _, token = credentials.create_enrollment_token(
            name="fleet", now=datetime.now(UTC)
        )
    return token


def lived(url: str, token: str, *, pace: Pace = QUICK, seconds: float = 3) -> Tally:
    """Three boxes, for some seconds."""
    fleet = Fleet(
        url=url,
        enrollment_token=token,
        devices=3,
        seed="t",
        pace=pace,
        now=lambda: datetime.now(UTC),
    )
    tally = Tally()
    asyncio.run(fleet.run(tally, seconds))
    return tally


def failed(tally: Tally) -> dict[str, int]:
    return {name: kind.failed for name, kind in tally.kinds.items() if kind.failed}


def test_boxes_register_enroll_connect_and_report(
    live_server: Any, enrollment_token: str
) -> None:
    tally = lived(live_server.url, enrollment_token)
    assert failed(tally) == {}
    names = Device.every_tenant.order_by("name").values_list("name", "status")
    assert list(names) == [(f"SIM-t-{n:06}", "online") for n in range(3)]
    assert DeviceCertificate.objects.filter(status="active").count() == 3
    assert DeviceMetrics.every_tenant.values("device_id").distinct().count() == 3
    assert tally.kinds["connect"].answered > 5
    assert tally.figures()["devices"] == {"online": 3}


def test_the_same_seed_is_the_same_boxes_again(
    live_server: Any, enrollment_token: str
) -> None:
    for _ in range(2):
        tally = lived(live_server.url, enrollment_token, seconds=1.5)
    assert tally.kinds["register"].statuses == {200: 3}
    assert Device.every_tenant.count() == 3
    assert not Device.every_tenant.filter(quarantined_at__isnull=False).exists()


def test_boxes_do_what_connect_tells_them(
    live_server: Any, enrollment_token: str, tenant: Tenant
) -> None:
    now = datetime.now(UTC)
    for_tenant(tenant, {"volume": 5}, now=now)
    with tenant_scope(tenant.pk):
        definitions.define(key="size", kind="integer", default=5, now=now)
    connect_response.forget()
    tally = lived(live_server.url, enrollment_token)
    applied = ReportedConfiguration.every_tenant.filter(outcome="applied")
    assert applied.count() == 3
    assert tally.kinds["configuration"].statuses == {200: 3}  # once each
    assert tally.kinds["settings"].statuses == {200: 3}


def test_a_box_whose_token_is_void_registers_again(
    live_server: Any, enrollment_token: str
) -> None:
    pace = Pace(**{**_said(QUICK), "connect_every": 0.5})

    async def run() -> Tally:
        tally = Tally()
        fleet = Fleet(
            url=live_server.url,
            enrollment_token=enrollment_token,
            devices=1,
            seed="void",
            pace=pace,
            now=lambda: datetime.now(UTC),
        )
        living = asyncio.create_task(fleet.run(tally, 6))
        while "connect" not in tally.kinds:
            await asyncio.sleep(0.1)
        await asyncio.to_thread(_end_tokens)
        await living
        return tally

    tally = asyncio.run(run())
    assert tally.kinds["connect"].statuses[401] == 1
    assert tally.kinds["register"].statuses == {201: 1, 200: 1}


def test_new_boxes_report_their_past(live_server: Any, enrollment_token: str) -> None:
    pace = Pace(**{**_said(QUICK), "history": timedelta(hours=2)})
    lived(live_server.url, enrollment_token, pace=pace, seconds=2)
    past = DeviceMetrics.every_tenant.filter(
        recorded_at__lt=datetime.now(UTC) - timedelta(minutes=4)
    )
    assert past.count() == 3 * 24


def test_a_box_goes_silent_and_comes_back(
    live_server: Any, enrollment_token: str
) -> None:
    pace = Pace(**{**_said(QUICK), "silence": 0.5, "silent_for": (0.3, 0.4)})
    tally = lived(live_server.url, enrollment_token, pace=pace)
    assert failed(tally) == {}
    assert tally.kinds["connect"].answered > 3


def test_a_server_that_is_away_costs_no_box_its_life() -> None:
    tally = lived("http://127.0.0.1:9", "enr_x", seconds=1)
    assert tally.kinds["register"].statuses == {0: 3}


@pytest.mark.parametrize(
    "page", [b"<html>Sign in</html>", b"{}", b"[]", b"\xff", b'{"token": 5}']
)
def test_a_page_that_is_no_answer_costs_no_box_its_life(page: bytes) -> None:
    class Proxy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *args: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        tally = lived(f"http://127.0.0.1:{server.server_port}", "enr_x", seconds=1)
        server.shutdown()
    assert tally.kinds["register"].statuses.total() == 3
    assert not tally.states["online"]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (["--history", "nan"], "--history is at most"),
        (["--url", "localhost"], "--url is like"),
        (["--token", "dev_x"], "--token is an enrollment token"),
        (["--devices", "0"], "--devices is from 1"),
        (["--seconds", "-1"], "more than 0"),
        (["--seed", "a b"], "--seed has letters"),
        (["--silence", "2"], "--silence is from 0 to 1"),
        (["--history", "10000"], "--history is at most"),
    ],
)
def test_what_cannot_be_simulated_is_refused(said: list[str], sentence: str) -> None:
    usual = ["--url", "http://localhost:1", "--token", "enr_x", "--seconds", "1"]
    with pytest.raises(CommandError, match=sentence):
        call_command("simulate_fleet", *usual, *said)


def test_ctrl_c_ends_a_run_with_its_figures(
    live_server: Any, enrollment_token: str
) -> None:
    words = ["--url", live_server.url, "--devices", "2", "--connect-every", "0.5"]
    process = subprocess.Popen(
        [sys.executable, "manage.py", "simulate_fleet", *words, "--json"],
        cwd=BASE,
        env={**os.environ, "ENROLLMENT_TOKEN": enrollment_token},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    reporting = DeviceMetrics.every_tenant.values("device_id").distinct()
    until(lambda: reporting.count() == 2, within=60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert json.loads(out)["requests"]["register"]["statuses"] == {"201": 2}


def _said(pace: Pace) -> dict[str, Any]:
    return {name: getattr(pace, name) for name in pace.__slots__}


def _end_tokens() -> None:
    """As if somebody had taken them all back; in a thread, which is nobody's."""
    with every_tenant_scope():
        DeviceToken.every_tenant.all().delete()
    connection.close()
