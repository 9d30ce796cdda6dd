"""An agent does everything that a running server wants it to do."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from certificates.models import DeviceCertificate
from certificates.services.certificate_management import CertificateManagementService
from devices.configurations.models import ReportedConfiguration
from devices.configurations.tests.documents import save_for_tenant
from devices.metrics.models import DeviceMetrics
from devices.preferences.models import DeviceSettings
from devices.preferences.services import definitions
from devices.registry.models import Device, DeviceHardware
from devices.registry.services import quarantine
from devices.registry.services.credentials import create_enrollment_token
from devices.remote_control.models import CommandHistory, Screenshot
from devices.remote_control.tests.remote_control import create_member, issue_command, picture
from devices.updates.models import UpdateStatus
from devices.updates.tests import rollouts
from provisioning_agent.configuration import SettingRefused
from provisioning_agent.hooks import HookResult, Hooks
from provisioning_agent.tests.agents import build_agent, run_steps
from tenants.context import tenant_scope
from tenants.models import Tenant

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("partitions_dropped"),
]
Run = Callable[..., Any]


@pytest.fixture
def enrollment_token(tenant: Tenant) -> str:
    with tenant_scope(tenant.pk):
        return create_enrollment_token(name="agents", now=datetime.now(UTC))[1]


@pytest.fixture
def run(tmp_path: Path, live_server: Any, enrollment_token: str, settings: Any) -> Run:
    """Return a function that starts an agent with the state of the last one and runs its steps."""
    settings.RATES = dict.fromkeys(settings.RATES)
    settings.PUBLIC_URL = live_server.url

    def start(hooks: Hooks | None = None, *, steps: int = 1, **parts: Any) -> Any:
        folder, url = tmp_path / "agent", live_server.url
        agent = build_agent(folder, url, token=enrollment_token, hooks=hooks, **parts)
        run_steps(agent, steps)
        return agent.session.state

    return start


def test_an_agent_registers_with_a_certificate_and_is_online(run: Run) -> None:
    state = run()

    device = Device.every_tenant.get()
    assert (str(device.pk), device.status) == (state.device_id, "online")
    certificate = DeviceCertificate.objects.get(device=device)
    assert certificate.serial_number == state.certificate_serial_number
    assert state.certificate.startswith("-----BEGIN CERTIFICATE")
    assert certificate.confirmed_at is not None


def test_a_restarted_agent_stays_the_same_device(run: Run) -> None:
    assert run().device_id == run().device_id
    assert Device.every_tenant.count() == 1


def test_an_agent_without_its_state_but_with_its_key_stays_the_same_device(
    run: Run, tmp_path: Path
) -> None:
    first = run().device_id
    (tmp_path / "agent" / "state.json").unlink()

    assert run().device_id == first
    assert DeviceCertificate.objects.count() == 1


def test_samples_are_stored_by_the_server_and_removed(run: Run, tmp_path: Path) -> None:
    run()

    assert DeviceMetrics.every_tenant.get().cpu_usage == 12.5
    assert list((tmp_path / "agent" / "samples").iterdir()) == []


def noted() -> list[Any]:
    """Return a list for the inputs of a hook."""
    return []


def test_a_hook_applies_the_configuration(run: Run, tenant: Tenant) -> None:
    save_for_tenant(tenant, {"volume": 5}, now=datetime.now(UTC))
    hooks, seen = Hooks(), noted()
    hooks.add("configuration", seen.append)

    run(hooks, steps=2)

    assert [values["configuration"]["volume"] for values in seen] == [5]
    assert ReportedConfiguration.every_tenant.get().outcome == "applied"


def test_a_configuration_that_the_hook_cannot_apply_is_reported(run: Run, tenant: Tenant) -> None:
    save_for_tenant(tenant, {"orientation": "portrait"}, now=datetime.now(UTC))
    hooks = Hooks()
    failure = HookResult(False, "The panel cannot be turned.", {"failed_keys": ["orientation"]})
    hooks.add("configuration", lambda values: failure)

    run(hooks)

    report = ReportedConfiguration.every_tenant.get()
    assert (report.outcome, report.failed_keys) == ("failed", ["orientation"])
    assert report.reason == "The panel cannot be turned."


def test_a_hook_applies_the_settings(run: Run, tenant: Tenant) -> None:
    with tenant_scope(tenant.pk):
        definitions.define(key="font_size", kind="integer", default=5, now=datetime.now(UTC))
    hooks, seen = Hooks(), noted()
    hooks.add("settings", seen.append)

    run(hooks, steps=2)

    assert seen == [{"settings": {"font_size": 5}}]


def test_the_person_at_the_device_changes_a_setting(
    run: Run, tenant: Tenant, tmp_path: Path, live_server: Any
) -> None:
    with tenant_scope(tenant.pk):
        for key, may_write in (("font_size", True), ("volume", False)):
            definitions.define(
                key=key,
                kind="integer",
                default=5,
                device_may_write=may_write,
                now=datetime.now(UTC),
            )
    run()
    agent = build_agent(tmp_path / "agent", live_server.url)

    async def change() -> None:
        try:
            await agent.change_setting("font_size", 7)
            await agent.change_setting("font_size", 7)  # whose first response was lost
            with pytest.raises(SettingRefused, match="setting_not_writable"):
                await agent.change_setting("volume", 7)
            with pytest.raises(SettingRefused, match="unknown_setting"):
                await agent.change_setting("colour", 7)
        finally:
            await agent.parts.http.close()

    asyncio.run(change())

    setting = DeviceSettings.every_tenant.get()
    assert (setting.key, setting.value, setting.by_device) == ("font_size", 7, True)


def send(tenant: Tenant, type_: str, **parameters: Any) -> CommandHistory:
    device = Device.every_tenant.get()
    member, now = create_member(tenant), datetime.now(UTC)
    with tenant_scope(tenant.pk):
        return issue_command(device, type_, parameters=parameters, by=member, now=now)


def test_a_command_is_verified_executed_and_answered(run: Run, tenant: Tenant) -> None:
    run()
    command = send(tenant, "set_volume", volume=80)
    hooks, seen = Hooks(), noted()
    hooks.add("command-set_volume", seen.append)

    state = run(hooks, steps=2)

    command.refresh_from_db()
    assert (seen, command.status) == ([{"volume": 80}], "succeeded")
    assert (state.last_sequence, state.outbox) == (command.sequence, [])


def test_a_command_without_a_hook_fails_with_a_reason(run: Run, tenant: Tenant) -> None:
    run()
    command = send(tenant, "set_volume", volume=80)

    run()

    command.refresh_from_db()
    assert command.status == "failed"
    assert command.reason == "This device has no hook command-set_volume."


def test_a_restart_of_the_device_completes_a_reboot(run: Run, tenant: Tenant) -> None:
    class PowerLost(BaseException):
        pass

    def reboot(values: Any) -> None:
        raise PowerLost

    run()
    command, hooks = send(tenant, "reboot"), Hooks()
    hooks.add("command-reboot", reboot)
    with pytest.raises(PowerLost):
        run(hooks)
    command.refresh_from_db()
    assert command.status == "running"

    run(boot_id=lambda: "boot-2")

    command.refresh_from_db()
    assert command.status == "succeeded"


def test_a_screenshot_is_uploaded(run: Run, tenant: Tenant) -> None:
    run()
    command, hooks = send(tenant, "screenshot"), Hooks()
    hooks.add("command-screenshot", lambda values: Path(values["path"]).write_bytes(picture()))

    run(hooks)

    command.refresh_from_db()
    assert command.status == "succeeded"
    assert Screenshot.every_tenant.get().width == 64


def test_an_update_is_downloaded_installed_and_reported(
    run: Run, tenant: Tenant, tmp_path: Path
) -> None:
    run()
    begin_rollout(tenant, tmp_path)
    hooks, seen = Hooks(), noted()

    def install(values: dict[str, Any]) -> None:
        seen.append((values["version"], Path(values["path"]).read_bytes()))

    hooks.add("install", install)
    state = run(hooks, steps=2)

    assert seen == [("2.0.0", rollouts.CONTENT)]
    assert (state.installed_version, state.outbox) == ("2.0.0", [])
    with tenant_scope(tenant.pk):
        rollouts.run_due_steps(rollouts.later(datetime.now(UTC)))
    assert UpdateStatus.every_tenant.get().status == "completed"
    assert Device.every_tenant.get().app_version == "2.0.0"
    assert list((tmp_path / "agent" / "updates").iterdir()) == []


def test_commands_and_updates_signed_with_es256_are_accepted(
    run: Run, tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provisioning_agent.enrollment.ALGORITHMS", ("ES256",))
    run()
    assert DeviceHardware.every_tenant.get().signature_algorithm == "ES256"
    command = send(tenant, "set_volume", volume=80)
    begin_rollout(tenant, tmp_path)
    hooks, seen = Hooks(), noted()
    for name in ("command-set_volume", "install"):
        hooks.add(name, lambda values: seen.append(values.get("version", "volume")))

    state = run(hooks, steps=3)

    command.refresh_from_db()
    assert (sorted(seen), command.status) == (["2.0.0", "volume"], "succeeded")
    assert {key["alg"] for key in state.update_keys} == {"EdDSA", "ES256"}


def test_an_installation_that_fails_is_reported_once(
    run: Run, tenant: Tenant, tmp_path: Path
) -> None:
    run()
    begin_rollout(tenant, tmp_path)
    hooks, seen = Hooks(), noted()

    def install(values: dict[str, Any]) -> HookResult:
        seen.append(values["version"])
        return HookResult(False, "The disk is full.", {"error_code": "no_space"})

    hooks.add("install", install)
    run(hooks, steps=3)

    update = UpdateStatus.every_tenant.get()
    assert (update.status, update.error_code, seen) == ("failed", "no_space", ["2.0.0"])


def test_a_download_continues_after_a_restart(run: Run, tenant: Tenant, tmp_path: Path) -> None:
    run()
    rollout = begin_rollout(tenant, tmp_path)
    part = tmp_path / "agent" / "updates" / f"{rollout.package_id}.part"
    part.parent.mkdir()
    part.write_bytes(rollouts.CONTENT[:1000])
    hooks, seen = Hooks(), noted()
    hooks.add("install", lambda values: seen.append(Path(values["path"]).read_bytes()))

    run(hooks)

    assert seen == [rollouts.CONTENT]


def test_a_renewed_certificate_is_stored_and_acknowledged(run: Run) -> None:
    first = DeviceCertificate.objects.get(serial_number=run().certificate_serial_number)
    CertificateManagementService().renew_certificate(first, now=datetime.now(UTC))

    state = run(steps=2)

    renewed = DeviceCertificate.objects.get(serial_number=state.certificate_serial_number)
    assert (renewed.replaces, renewed.confirmed_at is not None) == (first, True)


def test_a_device_in_quarantine_keeps_its_messages_until_it_is_released(
    run: Run, tenant: Tenant
) -> None:
    run()
    command, device, hooks = send(tenant, "reload"), Device.every_tenant.get(), Hooks()

    def put_into_quarantine() -> None:
        with tenant_scope(tenant.pk):
            quarantine.quarantine(device=device, reason="", now=datetime.now(UTC))
        connection.close()

    hooks.add("command-reload", lambda values: asyncio.to_thread(put_into_quarantine))
    assert len(run(hooks, steps=2).outbox) == 1
    with tenant_scope(tenant.pk):
        quarantine.release(device=device, now=datetime.now(UTC))

    assert run().outbox == []
    command.refresh_from_db()
    assert command.status == "succeeded"


def test_a_compromised_key_is_replaced(run: Run) -> None:
    first = run().certificate_serial_number
    certificate = DeviceCertificate.objects.get(serial_number=first)
    service = CertificateManagementService()
    service.revoke_certificate(
        certificate, reason=DeviceCertificate.Reason.KEY_COMPROMISE, now=datetime.now(UTC)
    )

    state = run(steps=3)

    renewed = DeviceCertificate.objects.get(status="active")
    assert renewed.serial_number == state.certificate_serial_number
    assert renewed.public_key_digest != certificate.public_key_digest


def begin_rollout(tenant: Tenant, folder: Path) -> Any:
    """Offer version 2.0.0 to all devices of a tenant."""
    now = datetime.now(UTC)
    with tenant_scope(tenant.pk):
        package = rollouts.create_released_package(now, folder / "packages")
        member = rollouts.create_member(tenant)
        rollout = rollouts.start_rollout(package, member, now)
        rollouts.run_due_steps(now)
    return rollout
