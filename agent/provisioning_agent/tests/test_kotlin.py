"""The Kotlin agent does the same as the Python agent."""

import io
import json
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from certificates.models import DeviceCertificate
from devices.configurations.models import ReportedConfiguration
from devices.configurations.tests.documents import save_for_tenant
from devices.metrics.models import DeviceMetrics
from devices.registry.models import Device, DeviceHardware
from devices.registry.services.credentials import create_enrollment_token
from devices.registry.tests.waiting import wait_until
from devices.remote_control.models import CommandHistory
from devices.remote_control.tests.remote_control import create_member, issue_command
from devices.updates.models import UpdateStatus
from devices.updates.tests import rollouts
from provisioning.tests.clients import tools
from tenants.context import tenant_scope
from tenants.models import Tenant

pytestmark = [
    *tools.MARKS,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("partitions_dropped"),
]
COMMANDS = ("reload", "wake_up", "restart")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of the compiled agent."""
    return [str(part) for part in tools.kotlin_agent(tmp_path_factory.mktemp("kotlin"))]


@pytest.fixture
def command(
    program: list[str], tenant: Tenant, live_server: Any, tmp_path: Path, settings: Any
) -> Callable[..., list[str]]:
    """Return a function that returns the command of an agent that makes some steps."""
    settings.RATES = dict.fromkeys(settings.RATES)
    settings.PUBLIC_URL = live_server.url
    with tenant_scope(tenant.pk):
        _, token = create_enrollment_token(name="agents", now=datetime.now(UTC))

    def line(steps: int, pause: float = 0) -> list[str]:
        folder = str(tmp_path / "agent")
        identity = [live_server.url, folder, "AX3-0042-1187", token]
        return [*program, *identity, str(steps), str(pause)]

    return line


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def send(tenant: Tenant, *types: str) -> None:
    with tenant_scope(tenant.pk):
        device, member = Device.objects.get(), create_member(tenant)
        for type_ in types:
            issue_command(device, type_, by=member, now=datetime.now(UTC))


def test_the_kotlin_agent_does_everything_that_the_server_wants(
    command: Callable[..., list[str]], tenant: Tenant, tmp_path: Path
) -> None:
    run(command(steps=1))
    save_for_tenant(tenant, {"volume": 5}, now=datetime.now(UTC))
    send(tenant, "reload")
    now = datetime.now(UTC)
    with tenant_scope(tenant.pk):
        package = rollouts.create_released_package(now, tmp_path / "packages")
        rollouts.start_rollout(package, rollouts.create_member(tenant), now)
        rollouts.run_due_steps(now)

    run(command(steps=3, pause=0.5))

    device = Device.every_tenant.get()
    assert DeviceHardware.every_tenant.get(device=device).signature_algorithm == "ES256"
    assert DeviceCertificate.objects.get(device=device).confirmed_at is not None
    assert ReportedConfiguration.every_tenant.get().outcome == "applied"
    assert CommandHistory.every_tenant.get().status == "succeeded"
    assert DeviceMetrics.every_tenant.filter(device_id=device.pk, cpu_usage=12.5).exists()
    with tenant_scope(tenant.pk):
        rollouts.run_due_steps(rollouts.later(datetime.now(UTC)))
    assert (UpdateStatus.every_tenant.get().status, device.app_version) == ("completed", "2.0.0")
    executed = (tmp_path / "agent" / "executed").read_text().splitlines()
    assert sorted(executed) == ["install 2.0.0 10240", "reload"]


def test_a_killed_kotlin_agent_continues_where_it_was(
    command: Callable[..., list[str]], tenant: Tenant, tmp_path: Path
) -> None:
    def run_for(seconds: float) -> None:
        process = subprocess.Popen(command(steps=100), stdout=subprocess.DEVNULL)
        time.sleep(seconds)
        process.kill()
        process.wait()

    def is_answered() -> bool:
        run(command(steps=2))
        return not CommandHistory.every_tenant.exclude(status__in=["succeeded", "failed"]).exists()

    run(command(steps=1))
    send(tenant, *COMMANDS)
    for seconds in (0.5, 0.7, 0.8, 0.9, 1.0, 1.1):
        run_for(seconds)
    wait_until(is_answered, timeout=60)

    executed = (tmp_path / "agent" / "executed").read_text().split()
    assert sorted(executed) == sorted(set(executed))
    assert Device.every_tenant.count() == 1


def test_the_kotlin_agent_conforms(
    command: Callable[..., list[str]], tenant: Tenant, settings: Any
) -> None:
    settings.CONNECT_INTERVAL_SECONDS = 3
    save_for_tenant(tenant, {"volume": 5}, now=datetime.now(UTC))
    run(command(steps=1))
    device, output = Device.every_tenant.get(), io.StringIO()
    working = threading.Thread(target=run, args=[command(steps=5, pause=3)])
    working.start()
    with tenant_scope(tenant.pk):
        later = datetime.now(UTC) + timedelta(seconds=1)
        issue_command(device, "reload", by=create_member(tenant), now=later)
    options = {"device": device.pk, "minutes": 0.2, "as_json": True}
    call_command("check_device", stdout=output, stderr=io.StringIO(), **options)
    working.join()

    found = {item["topic"]: item["verdict"] for item in json.loads(output.getvalue())["findings"]}
    right = {"connect", "app_version", "os_version", "boot_id", "configuration", "metrics"}
    right |= {"commands", "certificate", "fields"}
    assert {topic for topic, verdict in found.items() if verdict == "right"} == right
