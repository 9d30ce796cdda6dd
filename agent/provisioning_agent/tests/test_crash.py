"""An agent that is killed at any point loses nothing and does nothing twice.

The kill is an exception that no code catches. It is raised before and after each request, and in
each write to the disk, before and after the file has its new content. One test kills processes.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from devices.configurations.models import ReportedConfiguration
from devices.configurations.tests.documents import save_for_tenant
from devices.metrics.models import DeviceMetrics
from devices.registry.models import Device
from devices.registry.services.credentials import create_enrollment_token
from devices.registry.tests.waiting import wait_until
from devices.remote_control.models import CommandHistory
from devices.remote_control.tests.remote_control import create_member, issue_command
from devices.updates.models import UpdateStatus
from devices.updates.tests import rollouts
from provisioning.var import BASE
from provisioning_agent.hooks import Hooks
from provisioning_agent.http import Http
from provisioning_agent.spool import FileSpool, Sample
from provisioning_agent.tests.agents import IDENTITY, build_agent, run_steps
from tenants.context import tenant_scope
from tenants.models import Tenant

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("partitions_dropped"),
]
POINTS = 60  # more than there are in the work of one agent
COMMANDS = ("reload", "wake_up", "restart")


class Killed(BaseException):
    """The process ends here."""


class Points:
    """Count the points at which a process can be killed. Kill at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = -1
        request, fsync = Http.request, os.fsync

        async def counted_request(*arguments: Any, **options: Any) -> Any:
            self.reach()
            response = await request(*arguments, **options)
            self.reach()
            return response

        def counted_fsync(descriptor: int) -> None:
            fsync(descriptor)
            self.reach()

        monkeypatch.setattr(Http, "request", counted_request)
        monkeypatch.setattr(os, "fsync", counted_fsync)

    def kill_after(self, points: int) -> None:
        self.left = points

    def reach(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1

    def was_reached(self) -> bool:
        return self.left == 0


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> Points:
    return Points(monkeypatch)


@pytest.fixture
def enrollment_token(tenant: Tenant) -> str:
    with tenant_scope(tenant.pk):
        return create_enrollment_token(name="agents", now=datetime.now(UTC))[1]


class Fleet:
    """Agents that are killed at different points, one at each."""

    def __init__(self, folder: Path, url: str, token: str, points: Points) -> None:
        self.folder, self.url, self.token, self.points = folder, url, token, points
        self.executed: dict[str, list[str]] = {}
        self.kept: list[str] = []  # samples that were on the disk

    def start(self, serial_number: str, *, kill_after: int = -1) -> bool:
        """Run one step of an agent. Return True if it was killed."""
        executed = self.executed.setdefault(serial_number, [])

        def note(name: str) -> Callable[[Any], None]:
            return lambda values: executed.append(name)

        hooks = Hooks()
        for name in ("command-set_volume", "command-reload", "install"):
            hooks.add(name, note(name))
        self.points.kill_after(kill_after)
        agent = build_agent(
            self.folder / serial_number,
            self.url,
            token=self.token,
            hooks=hooks,
            identity=replace(IDENTITY, serial_number=serial_number),
            spool=NotedSpool(self.folder / serial_number / "samples", self.kept),
            measure=lambda: {"cpu_usage": 10, "run": uuid4().hex},
        )
        with suppress(Killed):
            run_steps(agent)
        return self.points.was_reached()


class NotedSpool(FileSpool):
    """A spool that notes the samples that it has stored."""

    def __init__(self, folder: Path, kept: list[str]) -> None:
        super().__init__(folder)
        self.kept = kept

    def add(self, sample: Sample) -> None:
        super().add(sample)
        self.kept.append(sample["run"])


@pytest.fixture
def fleet(
    tmp_path: Path, live_server: Any, enrollment_token: str, points: Points, settings: Any
) -> Fleet:
    settings.RATES = dict.fromkeys(settings.RATES)
    settings.PUBLIC_URL = live_server.url
    return Fleet(tmp_path / "agents", live_server.url, enrollment_token, points)


def test_an_agent_killed_at_any_point_of_its_enrollment_is_one_device(fleet: Fleet) -> None:
    killed = 0
    while fleet.start(f"SN-{killed:06}", kill_after=killed):
        fleet.start(f"SN-{killed:06}")
        killed += 1
        assert Device.every_tenant.count() == killed
    assert killed > 10


def test_an_agent_killed_at_any_point_of_its_work_does_everything_once(
    fleet: Fleet, tenant: Tenant, tmp_path: Path
) -> None:
    names = [f"SN-{number:06}" for number in range(POINTS)]
    for name in names:
        fleet.start(name)
    begin_work(tenant, tmp_path)

    for number, name in enumerate(names):
        killed = fleet.start(name, kill_after=number)
        assert fleet.start(name) is False
        assert len(fleet.executed[name]) == len(set(fleet.executed[name])), number
    assert not killed, "there are more points than devices"

    statuses = CommandHistory.every_tenant.values_list("status", flat=True)
    assert len(statuses) == 2 * POINTS
    assert set(statuses) == {"succeeded", "failed"}  # none is forgotten
    assert ReportedConfiguration.every_tenant.filter(outcome="applied").count() == POINTS
    with tenant_scope(tenant.pk):
        rollouts.run_due_steps(rollouts.later(datetime.now(UTC)))
    assert set(UpdateStatus.every_tenant.values_list("status", flat=True)) == {
        "completed",
        "failed",
    }
    stored = DeviceMetrics.every_tenant.values_list("extra__run", flat=True)
    assert len(stored) == len(set(stored))
    assert set(stored) >= set(fleet.kept)


def begin_work(tenant: Tenant, folder: Path) -> None:
    """Give each device a configuration, two commands and an update."""
    now, member = datetime.now(UTC), create_member(tenant)
    save_for_tenant(tenant, {"volume": 5}, now=now)
    with tenant_scope(tenant.pk):
        for device in Device.objects.all():
            issue_command(device, "set_volume", parameters={"volume": 10}, by=member, now=now)
            issue_command(device, "reload", by=member, now=now)
        package = rollouts.create_released_package(now, folder / "packages")
        rollouts.start_rollout(package, rollouts.create_member(tenant), now)
        rollouts.run_due_steps(now)


def test_a_killed_process_continues_where_it_was(
    tenant: Tenant, live_server: Any, enrollment_token: str, tmp_path: Path, settings: Any
) -> None:
    settings.RATES = dict.fromkeys(settings.RATES)
    settings.PUBLIC_URL = live_server.url
    executed, configuration = tmp_path / "executed", tmp_path / "agent.toml"
    for type_ in COMMANDS:
        write_hook(tmp_path / "hooks" / f"command-{type_}", f"echo {type_} >> {executed}")
    configuration.write_text(
        f'url = "{live_server.url}"\nenrollment_token = "{enrollment_token}"\n'
        f'state_folder = "{tmp_path / "state"}"\nhooks_folder = "{tmp_path / "hooks"}"\n'
        'use_push = false\n[identity]\nserial_number = "AX3-0042-1187"\n'
    )
    command = [sys.executable, "-m", "provisioning_agent", "--config", str(configuration), "run"]
    environment = {**os.environ, "PYTHONPATH": str(BASE / "agent")}

    def run_for(seconds: float) -> None:
        process = subprocess.Popen(command, env=environment)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def is_answered() -> bool:
        run_for(1.5)
        return not CommandHistory.every_tenant.exclude(status__in=["succeeded", "failed"]).exists()

    def is_enrolled() -> bool:
        run_for(1.5)
        return Device.every_tenant.exists()

    wait_until(is_enrolled, timeout=60)
    with tenant_scope(tenant.pk):
        device, member, now = Device.every_tenant.get(), create_member(tenant), datetime.now(UTC)
        for type_ in COMMANDS:
            issue_command(device, type_, by=member, now=now)
    for seconds in (0.4, 0.6, 0.7, 0.8, 0.9):
        run_for(seconds)
    wait_until(is_answered, timeout=60)

    lines = executed.read_text().split()
    assert sorted(lines) == sorted(set(lines))
    assert Device.every_tenant.count() == 1


def write_hook(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
