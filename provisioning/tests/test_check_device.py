"""`check_device` says what of the protocol a device does right, wrong, or not at all."""

import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from provisioning_agent.hooks import Hooks
from provisioning_agent.tests.agents import build_agent, run_steps

from devices.configurations.tests.documents import save_for_tenant
from devices.registry.models import Device, NextSteps
from devices.registry.services.credentials import create_enrollment_token, renew_device_token
from devices.registry.tests.factories import DeviceFactory, UnreadableFieldFactory
from devices.remote_control.tests.remote_control import create_member, issue_command
from provisioning.device_check import Watch
from tenants.context import tenant_scope
from tenants.models import Tenant


def verdicts(watch: Watch) -> dict[str, str]:
    return {finding.topic: finding.verdict for finding in watch.findings()}


def seen_every(device: Device, seconds: float, now: datetime) -> Watch:
    """Watch a device that connects at an interval."""
    watch = Watch.begin(device, now=now)
    for number in range(1, 6):
        at = now + timedelta(seconds=seconds * number)
        Device.objects.filter(pk=device.pk).update(last_seen=at)
        watch.look()
    return watch


@pytest.mark.django_db
class TestFindings:
    @pytest.fixture
    def device(self, acting: Tenant) -> Device:
        device: Device = DeviceFactory.create(tenant=acting, app_version="1.0", os_version="")
        return device

    @pytest.mark.parametrize(
        ("seconds", "verdict"), [(60, "right"), (54, "right"), (10, "wrong"), (120, "wrong")]
    )
    def test_the_interval_of_connects_is_measured(
        self, device: Device, now: datetime, seconds: float, verdict: str
    ) -> None:
        assert verdicts(seen_every(device, seconds, now))["connect"] == verdict

    def test_a_silent_device_is_not_seen(self, device: Device, now: datetime) -> None:
        watch = Watch.begin(device, now=now)
        watch.look()

        found = verdicts(watch)
        assert (found["connect"], found["metrics"], found["commands"]) == ("not seen",) * 3
        assert (found["app_version"], found["os_version"]) == ("right", "not seen")

    def test_a_configuration_without_a_report_is_wrong(self, device: Device, now: datetime) -> None:
        NextSteps.objects.update_or_create(
            device=device, defaults={"configuration_version": "a" * 64}
        )

        assert verdicts(Watch.begin(device, now=now))["configuration"] == "wrong"

    def test_a_command_that_is_not_fetched_is_wrong(self, device: Device, now: datetime) -> None:
        watch = Watch.begin(device, now=now)
        issue_command(device, "reload", by=create_member(device.tenant), now=now)

        assert verdicts(watch)["commands"] == "wrong"

    def test_an_unreadable_field_is_named(self, device: Device, now: datetime) -> None:
        UnreadableFieldFactory.create(device=device, field="screen_width", last_seen_at=now)

        watch = Watch.begin(device, now=now)
        fields = [item.detail for item in watch.findings() if item.topic == "fields"]
        assert len(fields) == 1
        assert fields[0].startswith("screen_width: ")


@contextmanager
def working(agent_folder: Path, url: str, token: str) -> Iterator[None]:
    """Let an agent connect in the background, until the block ends."""
    stopped = threading.Event()
    hooks = Hooks()
    hooks.add("command-reload", lambda values: None)

    def work() -> None:
        while not stopped.is_set():
            agent = build_agent(agent_folder, url, token=token, hooks=hooks, connect_interval=1)
            run_steps(agent)
            time.sleep(2.5)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stopped.set()
    thread.join()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("partitions_dropped")
def test_the_agent_conforms(
    tenant: Tenant, live_server: Any, tmp_path: Path, settings: Any
) -> None:
    settings.RATES = dict.fromkeys(settings.RATES)
    settings.CONNECT_INTERVAL_SECONDS = 3
    now = datetime.now(UTC)
    with tenant_scope(tenant.pk):
        _, token = create_enrollment_token(name="t", now=now)
    save_for_tenant(tenant, {"volume": 5}, now=now)
    run_steps(build_agent(tmp_path / "agent", live_server.url, token=token))
    device = Device.every_tenant.get()
    output = io.StringIO()

    with working(tmp_path / "agent", live_server.url, token):
        with tenant_scope(tenant.pk):
            later = datetime.now(UTC) + timedelta(seconds=1)
            issue_command(device, "reload", by=create_member(tenant), now=later)
        options = {"device": device.pk, "minutes": 0.2, "as_json": True}
        call_command("check_device", stdout=output, stderr=io.StringIO(), **options)

    found = {item["topic"]: item["verdict"] for item in json.loads(output.getvalue())["findings"]}
    right = {"connect", "app_version", "os_version", "boot_id", "configuration", "metrics"}
    right |= {"commands", "certificate", "fields"}
    assert {topic for topic, verdict in found.items() if verdict == "right"} == right
    assert found["update"] == "not seen"


@pytest.mark.django_db
def test_a_device_is_found_by_its_token(tenant: Tenant, now: datetime) -> None:
    device = DeviceFactory.create(tenant=tenant)
    with tenant_scope(tenant.pk):
        token = renew_device_token(device, now=now)
    output = io.StringIO()

    call_command("check_device", token=token, minutes=0.001, stdout=output, stderr=io.StringIO())

    assert "not seen  connect" in output.getvalue()
    with pytest.raises(CommandError, match="No device has this token"):
        call_command("check_device", token="dev_x", minutes=0.001, stderr=io.StringIO())
