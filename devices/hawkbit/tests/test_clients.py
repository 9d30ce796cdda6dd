"""Software that speaks to hawkBit gets its updates from this server, unchanged."""

import asyncio
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer

from devices.hawkbit.models import HawkbitAction, HawkbitSettings, HawkbitTarget
from devices.hawkbit.services import settings as hawkbit_settings
from devices.hawkbit.services.gateway_tokens import create_gateway_token
from devices.hawkbit.tests import swupdate
from devices.hawkbit.tests.swupdate import Board
from devices.registry.models import Device
from devices.registry.services.credentials import renew_device_token
from devices.registry.tests.factories import DeviceIdentifierFactory
from devices.registry.tests.waiting import wait_until
from devices.updates.models import Deployment, UpdateStatus
from devices.updates.services import rollout_control
from devices.updates.tests.rollouts import (
    CONTENT,
    create_devices,
    create_member,
    create_released_package,
    run_due_steps,
    start_rollout,
)
from provisioning.tests.clients import tools
from tenants.context import tenant_scope
from tenants.models import Tenant

pytestmark = [
    pytest.mark.client,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        not tools.REQUIRED and not swupdate.is_installed(), reason="no SWUpdate here"
    ),
]
SECONDS = 60
Connected = Callable[..., Board]


@pytest.fixture
def device(tenant: Tenant) -> Device:
    with tenant_scope(tenant.pk):
        hawkbit_settings.change(is_enabled=True, now=datetime.now(UTC))
        HawkbitSettings.objects.update(polling_seconds=1)  # less than a member may set
        (device,) = create_devices(tenant, 1)
        DeviceIdentifierFactory.create(
            device=device, tenant=tenant, kind="serial_number", value="board-0001"
        )
    return device


@pytest.fixture
def signer(tmp_path: Path) -> Path:
    return swupdate.signing_certificate(tmp_path, "release")


@pytest.fixture
def board(tenant: Tenant, device: Device, live_server: LiveServer, tmp_path: Path) -> Board:
    folder = tmp_path / "board"
    folder.mkdir()
    with tenant_scope(tenant.pk):
        token = renew_device_token(device, now=datetime.now(UTC))
    attributes = {"os_version": "5.15", "revision": "2"}
    return Board(folder, live_server.url, tenant.slug, "board-0001", ("-k", token), attributes)


def roll_out(
    device: Device, board: Board, tmp_path: Path, *, signer: Path | None, content: bytes = b"new"
) -> Deployment:
    """Roll out an image that installs a file in the folder of the board."""
    now, target = datetime.now(UTC), board.folder / "installed"
    file = swupdate.image(content, target=target, version="2.0.0", signer=signer)
    with tenant_scope(device.tenant_id):
        package = create_released_package(now, tmp_path / "in", platform="linux", content=file)
        rollout = start_rollout(package, create_member(device.tenant), now)
        run_due_steps(now)
    return rollout


def update_of(device: Device) -> UpdateStatus:
    return UpdateStatus.every_tenant.get(device=device)


def advance(device: Device) -> None:
    """Run the steps of rollouts that are due within a minute."""
    with tenant_scope(device.tenant_id):
        run_due_steps(datetime.now(UTC) + timedelta(minutes=1))


def status_is(device: Device, status: str) -> Callable[[], bool]:
    return lambda: update_of(device).status == status


def test_swupdate_installs_a_signed_image_and_confirms_it_after_its_restart(
    device: Device, board: Board, signer: Path, tmp_path: Path
) -> None:
    roll_out(device, board, tmp_path, signer=signer)

    with board.running(signer):
        wait_until(lambda: "All Chunks Installed" in board.log, timeout=SECONDS)
        wait_until((board.folder / "installed").exists, timeout=SECONDS)
    assert (board.folder / "installed").read_bytes() == b"new"
    assert update_of(device).status == "downloading"
    with board.running(signer, "-c", swupdate.CONFIRM_SUCCESS):
        wait_until(status_is(device, "installing"), timeout=SECONDS)

    advance(device)
    assert update_of(device).status == "completed"
    device.refresh_from_db()
    assert (device.app_version, device.os_version) == ("2.0.0", "5.15")
    attributes = HawkbitTarget.every_tenant.get(device=device).attributes
    assert attributes == {"os_version": "5.15", "revision": "2"}


@pytest.mark.parametrize("is_signed", [False, True])
def test_swupdate_refuses_an_image_without_the_right_signature_and_reports_the_failure(
    device: Device, board: Board, signer: Path, tmp_path: Path, is_signed: bool
) -> None:
    other = swupdate.signing_certificate(tmp_path, "other")
    roll_out(device, board, tmp_path, signer=other if is_signed else None)

    with board.running(signer):
        wait_until(status_is(device, "failed"), timeout=SECONDS)

    assert not (board.folder / "installed").exists()
    assert update_of(device).error.endswith("No suitable .swu image found")
    with tenant_scope(device.tenant_id):
        [action] = HawkbitAction.objects.filter(device=device)
    assert any("ERROR" in message for message in action.messages)


def test_swupdate_installs_after_a_retry(
    device: Device, board: Board, signer: Path, tmp_path: Path
) -> None:
    other = swupdate.signing_certificate(tmp_path, "other")
    rollout = roll_out(device, board, tmp_path, signer=signer)
    with board.running(other):
        wait_until(status_is(device, "failed"), timeout=SECONDS)
    rollout.refresh_from_db()
    with tenant_scope(device.tenant_id):
        rollout_control.retry(deployment=rollout, now=datetime.now(UTC))
    advance(device)

    with board.running(signer):
        wait_until(lambda: "All Chunks Installed" in board.log, timeout=SECONDS)

    assert (board.folder / "installed").read_bytes() == b"new"
    assert update_of(device).attempt == 2


def test_swupdate_stops_a_download_whose_rollout_was_aborted(
    device: Device, board: Board, signer: Path, tmp_path: Path
) -> None:
    rollout = roll_out(device, board, tmp_path, signer=signer, content=CONTENT * 100)

    with board.running(signer, "-n", "20k"):
        wait_until(status_is(device, "downloading"), timeout=SECONDS)
        rollout.refresh_from_db()
        with tenant_scope(device.tenant_id):
            rollout_control.abort(deployment=rollout, now=datetime.now(UTC))
        advance(device)
        with tenant_scope(device.tenant_id):
            confirmed = HawkbitAction.objects.filter(device=device, closed_at__isnull=False)
            wait_until(confirmed.exists, timeout=SECONDS)

    assert update_of(device).status == "cancelled"
    assert not (board.folder / "installed").exists()


def test_swupdate_is_registered_by_its_gateway_token(
    tenant: Tenant, device: Device, board: Board, signer: Path
) -> None:
    with tenant_scope(tenant.pk):
        _, token = create_gateway_token(name="yard", registers_devices=True, now=datetime.now(UTC))
    board.controller_id, board.authorization = "board-0002", ("-g", token)

    with board.running(signer):
        known = Device.every_tenant.filter(identifiers__value="board-0002", tenant=tenant)
        wait_until(known.exists, timeout=SECONDS)


def test_the_client_of_rauc_installs_an_update(
    tenant: Tenant, device: Device, board: Board, live_server: LiveServer, tmp_path: Path
) -> None:
    roll_out(device, board, tmp_path, signer=None, content=CONTENT)
    token = board.authorization[1]
    bundle = tmp_path / "bundle"

    links = asyncio.run(_install_as_rauc(live_server, tenant, token, bundle))

    assert "deploymentBase" not in links
    advance(device)
    assert update_of(device).status == "completed"
    with tenant_scope(tenant.pk):
        assert HawkbitTarget.objects.get(device=device).attributes == {"hw": "rauc"}


async def _install_as_rauc(
    server: LiveServer, tenant: Tenant, token: str, bundle: Path
) -> dict[str, Any]:
    """Poll, send attributes, download, report success. Return the links of the next poll."""
    import aiohttp  # both are dependencies of the generated clients
    from rauc_hawkbit.ddi import client, deployment_base

    host = server.url.removeprefix("http://")
    async with aiohttp.ClientSession() as session:
        ddi = client.DDIClient(session, host, False, token, tenant.slug, "board-0001")
        base = await ddi()
        assert base["config"]["polling"]["sleep"] == "00:00:01"
        await ddi.configData(
            client.ConfigStatusExecution.closed, client.ConfigStatusResult.success, hw="rauc"
        )
        action = base["_links"]["deploymentBase"]["href"].rsplit("/", 1)[1]
        deployment = await ddi.deploymentBase[action]("")
        [artifact] = deployment["deployment"]["chunks"][0]["artifacts"]
        download = artifact["_links"]["download-http"]["href"]
        md5 = await ddi.get_binary(download, bundle)
        assert md5 == artifact["hashes"]["md5"]
        content = await asyncio.to_thread(bundle.read_bytes)
        assert (
            hashlib.sha1(content, usedforsecurity=False).hexdigest() == artifact["hashes"]["sha1"]
        )
        execution = deployment_base.DeploymentStatusExecution
        result = deployment_base.DeploymentStatusResult
        feedback = ddi.deploymentBase[action].feedback
        await feedback(execution.proceeding, result.none, ("Installing.",), cnt=1, of=2)
        await feedback(execution.closed, result.success, ("Installed.",))
        links: dict[str, Any] = (await ddi())["_links"]
        return links
