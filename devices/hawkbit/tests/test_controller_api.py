"""The hawkBit API for devices: polls, deployments, files, feedback, cancellation, attributes."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.test import override_settings
from rest_framework.test import APIClient

from accounts.services.tokens import revoke_token
from certificates.tests.issuance import issue_certificate
from core.limits import Rate
from devices.hawkbit.models import HawkbitAction, HawkbitTarget
from devices.hawkbit.services import settings as hawkbit_settings
from devices.hawkbit.services.gateway_tokens import create_gateway_token
from devices.registry.models import Device, DeviceHardware, DeviceIdentifier, UnreadableField
from devices.registry.services import quarantine, retirement
from devices.registry.services.credentials import renew_device_token
from devices.registry.tests.factories import DeviceIdentifierFactory
from devices.updates.models import Deployment, SoftwareUpdate, UpdateStatus
from devices.updates.services import downloads, package_hashes, policies, rollout_control
from devices.updates.tests.rollouts import (
    CONTENT,
    create_devices,
    create_member,
    create_product,
    create_released_package,
    run_due_steps,
    start_rollout,
)
from tenants.context import tenant_scope
from tenants.models import Tenant
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db
Controller = Callable[[Device], "DdiClient"]
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
SHA1, MD5 = (hashlib.new(name, CONTENT).hexdigest() for name in ("sha1", "md5"))


class DdiClient:
    """A device as hawkBit's clients are: it follows links."""

    def __init__(self, tenant: Tenant, controller_id: str, authorization: str) -> None:
        self.base = f"/{tenant.slug}/controller/v1/{controller_id}"
        self.api = APIClient()
        self.api.credentials(HTTP_AUTHORIZATION=authorization)

    def get(self, path: str = "", **headers: str) -> Any:
        address = path if path.startswith("http") else self.base + path
        return self.api.get(address, headers=headers)

    def links(self) -> dict[str, str]:
        response = self.get()
        assert response.status_code == 200, response.content
        return {name: link["href"] for name, link in response.json()["_links"].items()}

    def deployment(self) -> Any:
        response = self.get(self.links()["deploymentBase"])
        assert response.status_code == 200, response.content
        return response.json()

    def feedback(self, action_id: Any, execution: str, finished: str = "none", **more: Any) -> Any:
        result = {"finished": finished, **more.pop("result", {})}
        status = {"execution": execution, "result": result, **more}
        path = f"{self.base}/deploymentBase/{action_id}/feedback"
        return self.api.post(path, {"id": str(action_id), "status": status})


@pytest.fixture
def clock() -> datetime:
    """Return the real time, because the API uses the real time."""
    return datetime.now(UTC)


@pytest.fixture
def enabled(acting: Tenant, clock: datetime) -> Tenant:
    hawkbit_settings.change(is_enabled=True, polling_seconds=90, now=clock)
    return acting


@pytest.fixture
def board(enabled: Tenant) -> Device:
    """A Linux board that is online with version 1.0.0 and has a serial number."""
    (device,) = create_devices(enabled, 1)
    DeviceIdentifierFactory.create(
        device=device, tenant=enabled, kind="serial_number", value="board-0001"
    )
    return device


@pytest.fixture
def package(enabled: Tenant, clock: datetime, tmp_path: Path) -> SoftwareUpdate:
    return create_released_package(clock, tmp_path / "in", platform="linux")


@pytest.fixture
def rollout(enabled: Tenant, board: Device, package: SoftwareUpdate, clock: datetime) -> Deployment:
    rollout = start_rollout(package, create_member(enabled), clock)
    run_due_steps(clock)
    return rollout


@pytest.fixture
def target(enabled: Tenant, board: Device, clock: datetime) -> DdiClient:
    token = renew_device_token(board, now=clock)
    return DdiClient(enabled, "board-0001", f"TargetToken {token}")


@pytest.fixture
def gateway(enabled: Tenant, clock: datetime) -> Callable[..., DdiClient]:
    """Return a function that returns a client with a gateway token for a controller id."""

    def client(controller_id: str, **options: Any) -> DdiClient:
        _, token = create_gateway_token(name="gateway", now=clock, **options)
        return DdiClient(enabled, controller_id, f"GatewayToken {token}")

    return client


def update_of(device: Device) -> UpdateStatus:
    return UpdateStatus.objects.get(device=device)


def code(response: Any) -> str:
    return str(response.json()["errors"][0]["code"])


class TestPoll:
    def test_a_poll_tells_the_interval_and_makes_the_device_online(
        self, target: DdiClient, board: Device
    ) -> None:
        Device.objects.filter(pk=board.pk).update(status="offline", last_seen=None)

        response = target.get()

        assert response.json()["config"] == {"polling": {"sleep": "00:01:30"}}
        board.refresh_from_db()
        assert (board.status, board.ip_address) == ("online", "127.0.0.1")

    def test_the_answer_has_the_media_type_that_the_device_asks_for(
        self, target: DdiClient
    ) -> None:
        hal = target.get(Accept="application/hal+json")
        other = target.get(Accept="application/cbor")

        assert hal["Content-Type"] == "application/hal+json"
        assert other["Content-Type"] == "application/json"

    @pytest.mark.parametrize("name", ["id", "serial_number", "android_id", "mac_address"])
    def test_a_device_is_named_by_its_id_or_an_identifier(
        self, enabled: Tenant, board: Device, gateway: Callable[..., DdiClient], name: str
    ) -> None:
        values = {"android_id": "a1b2c3d4e5f60718", "mac_address": "a8:bb:cc:00:00:01"}
        for kind, value in values.items():
            DeviceIdentifierFactory.create(device=board, tenant=enabled, kind=kind, value=value)
        names = {"id": str(board.pk), "serial_number": "BOARD-0001", **values}

        assert gateway(names[name]).get().status_code == 200

    def test_a_serial_number_may_look_like_the_id_of_a_device(
        self, enabled: Tenant, board: Device, gateway: Callable[..., DdiClient], clock: datetime
    ) -> None:
        serial = "4c4c4544004210358052b4c04f564231"
        DeviceIdentifierFactory.create(
            device=board, tenant=enabled, kind="serial_number", value=serial
        )
        token = renew_device_token(board, now=clock)

        assert gateway(serial).get().status_code == 200
        assert DdiClient(enabled, serial, f"TargetToken {token}").get().status_code == 200

    def test_a_serial_number_counts_more_than_the_android_id_of_another_device(
        self, enabled: Tenant, board: Device, gateway: Callable[..., DdiClient]
    ) -> None:
        (other,) = create_devices(enabled, 1)
        for device, kind in ((other, "android_id"), (board, "serial_number")):
            DeviceIdentifierFactory.create(
                device=device, tenant=enabled, kind=kind, value="a1b2c3d4e5f60718"
            )
        Device.objects.update(last_seen=None)

        gateway("a1b2c3d4e5f60718").get()

        assert list(Device.objects.filter(last_seen__isnull=False)) == [board]

    def test_a_gateway_leaves_the_address_of_the_device_as_it_is(
        self, board: Device, gateway: Callable[..., DdiClient]
    ) -> None:
        Device.objects.filter(pk=board.pk).update(ip_address="192.0.2.7")

        gateway("board-0001").get()

        board.refresh_from_db()
        assert board.ip_address == "192.0.2.7"

    def test_updates_need_no_confirmation_on_the_device(self, target: DdiClient) -> None:
        assert target.get("/confirmationBase").json() == {"autoConfirm": {"active": True}}


class TestAccess:
    def test_without_a_credential_the_answer_is_401(self, target: DdiClient) -> None:
        target.api.credentials()

        assert target.get().status_code == 401

    @pytest.mark.parametrize("scheme", ["Bearer", "GatewayToken", "Basic"])
    def test_a_device_token_under_another_scheme_is_401(
        self, target: DdiClient, board: Device, clock: datetime, scheme: str
    ) -> None:
        token = renew_device_token(board, now=clock)
        target.api.credentials(HTTP_AUTHORIZATION=f"{scheme} {token}")

        assert target.get().status_code == 401

    def test_a_revoked_gateway_token_is_401(
        self, enabled: Tenant, board: Device, clock: datetime
    ) -> None:
        row, token = create_gateway_token(name="gateway", now=clock)
        client = DdiClient(enabled, "board-0001", f"GatewayToken {token}")
        assert client.get().status_code == 200

        revoke_token(row, now=clock)

        assert client.get().status_code == 401

    def test_the_api_is_off_until_the_tenant_switches_it_on(
        self, target: DdiClient, clock: datetime
    ) -> None:
        hawkbit_settings.change(is_enabled=False, now=clock)

        response = target.get()

        assert (response.status_code, code(response)) == (404, "controller_not_found")

    def test_a_device_may_not_use_the_name_of_another_device(
        self, enabled: Tenant, target: DdiClient
    ) -> None:
        (other,) = create_devices(enabled, 1)
        target.base = f"/{enabled.slug}/controller/v1/{other.pk}"

        assert target.get().status_code == 404

    def test_a_controller_of_another_tenant_is_404(
        self, enabled: Tenant, gateway: Callable[..., DdiClient], clock: datetime
    ) -> None:
        stranger: Tenant = TenantFactory.create()
        with tenant_scope(stranger.pk):
            hawkbit_settings.change(is_enabled=True, now=clock)
            (device,) = create_devices(stranger, 1)
        by_id = gateway(str(device.pk))
        in_its_tenant = gateway(str(device.pk))
        in_its_tenant.base = f"/{stranger.slug}/controller/v1/{device.pk}"

        assert by_id.get().status_code == 404
        assert in_its_tenant.get().status_code == 404

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("get", ""),
            ("put", "/configData"),
            ("get", "/deploymentBase/{action}"),
            ("post", "/deploymentBase/{action}/feedback"),
            ("get", "/installedBase/{action}"),
            ("get", "/cancelAction/{action}"),
            ("post", "/cancelAction/{action}/feedback"),
            ("get", "/confirmationBase"),
            ("get", "/softwaremodules/{package}/artifacts"),
            ("get", "/softwaremodules/{package}/artifacts/player-2.0.0.swu"),
            ("get", "/softwaremodules/{package}/artifacts/player-2.0.0.swu.MD5SUM"),
        ],
    )
    def test_every_endpoint_is_closed_to_another_tenant(
        self,
        target: DdiClient,
        board: Device,
        rollout: Deployment,
        package: SoftwareUpdate,
        clock: datetime,
        method: str,
        path: str,
    ) -> None:
        action = target.deployment()["id"]
        stranger: Tenant = TenantFactory.create()
        with tenant_scope(stranger.pk):
            hawkbit_settings.change(is_enabled=True, now=clock)
            (device,) = create_devices(stranger, 1)
            token = renew_device_token(device, now=clock)
            _, gateway_token = create_gateway_token(name="gateway", now=clock)
        path = path.format(action=action, package=package.pk)
        clients = [
            DdiClient(tenant, str(device_id), f"{scheme} {credential}")
            for scheme, credential in (("TargetToken", token), ("GatewayToken", gateway_token))
            for tenant, device_id in ((board.tenant, board.pk), (stranger, board.pk))
        ]
        own = DdiClient(stranger, str(device.pk), f"TargetToken {token}")

        for client in clients:
            response = getattr(client.api, method)(client.base + path, {"data": {"a": "b"}})
            assert response.status_code == 404
        if "{" in path or "action" in path.lower() or "softwaremodules" in path:
            assert getattr(own.api, method)(own.base + path, {}).status_code == 404
        assert update_of(board).status == "pending"
        assert not HawkbitTarget.every_tenant.filter(device=board).exists()

    def test_a_device_in_quarantine_may_only_poll(
        self, target: DdiClient, board: Device, rollout: Deployment, clock: datetime
    ) -> None:
        action = target.deployment()["id"]
        quarantine.quarantine(device=board, reason="stolen", now=clock)

        assert target.links() == {}
        assert target.get(f"/deploymentBase/{action}").status_code == 403

    def test_a_retired_device_is_refused(
        self, target: DdiClient, board: Device, clock: datetime
    ) -> None:
        retirement.retire(device=board, now=clock)

        assert target.get().status_code == 401

    def test_a_client_certificate_is_a_credential(
        self, enabled: Tenant, board: Device, clock: datetime, settings: Any
    ) -> None:
        settings.CLIENT_CERTIFICATE_PROXIES = [ip_network("192.0.2.7")]
        pem = issue_certificate(board, clock).pem
        client = DdiClient(enabled, "board-0001", "")
        client.api.credentials(HTTP_X_SSL_CLIENT_CERT=quote(pem), REMOTE_ADDR="192.0.2.7")

        assert client.get().status_code == 200

    def test_the_devices_of_a_gateway_are_limited_one_by_one(
        self, enabled: Tenant, gateway: Callable[..., DdiClient], settings: Any
    ) -> None:
        settings.RATES = {**settings.RATES, "device": Rate(2, 3600)}
        first, second = create_devices(enabled, 2)
        client = gateway(str(first.pk))

        statuses = [client.get().status_code for _ in range(3)]

        assert statuses == [200, 200, 429]
        client.base = f"/{enabled.slug}/controller/v1/{second.pk}"
        assert client.get().status_code == 200


class TestRegistration:
    def test_an_unknown_device_is_404(self, gateway: Callable[..., DdiClient]) -> None:
        assert gateway("board-0002").get().status_code == 404

    def test_a_gateway_that_may_registers_an_unknown_device_once(
        self, gateway: Callable[..., DdiClient]
    ) -> None:
        client = gateway("Board-0002", registers_devices=True)

        assert [client.get().status_code for _ in range(2)] == [200, 200]
        identifier = DeviceIdentifier.objects.get(value="board-0002")
        assert (identifier.kind, identifier.written) == ("serial_number", "Board-0002")
        assert (identifier.device.status, identifier.device.ip_address) == ("online", None)

    def test_only_a_poll_registers(self, gateway: Callable[..., DdiClient]) -> None:
        client = gateway("board-0002", registers_devices=True)

        assert client.api.put(f"{client.base}/configData", {"data": {}}).status_code == 404

    @pytest.mark.parametrize("controller_id", ["unknown", "0000", "x" * 65])
    def test_a_name_that_identifies_no_device_is_not_registered(
        self, gateway: Callable[..., DdiClient], controller_id: str
    ) -> None:
        assert gateway(controller_id, registers_devices=True).get().status_code == 404
        assert Device.objects.count() == 0


class TestDeployment:
    def test_a_device_without_an_update_gets_no_deployment(self, target: DdiClient) -> None:
        assert "deploymentBase" not in target.links()

    def test_a_deployment_describes_the_file(
        self, target: DdiClient, rollout: Deployment, package: SoftwareUpdate
    ) -> None:
        deployment = target.deployment()

        action = HawkbitAction.objects.get()
        assert deployment["id"] == str(action.pk)
        assert deployment["deployment"]["update"] == "forced"
        [chunk] = deployment["deployment"]["chunks"]
        assert (chunk["name"], chunk["version"], chunk["part"]) == ("player", "2.0.0", "bApp")
        [artifact] = chunk["artifacts"]
        assert artifact["filename"] == "player-2.0.0.swu"
        assert artifact["size"] == len(CONTENT)
        assert artifact["hashes"] == {"sha1": SHA1, "md5": MD5, "sha256": package.sha256}
        listed = target.get(f"/softwaremodules/{package.pk}/artifacts").json()
        assert listed == [artifact]

    def test_the_file_is_downloaded_whole_and_in_ranges(
        self, target: DdiClient, board: Device, rollout: Deployment
    ) -> None:
        [chunk] = target.deployment()["deployment"]["chunks"]
        links = chunk["artifacts"][0]["_links"]

        whole = target.get(links["download"]["href"], Accept="application/octet-stream")
        part = target.get(links["download-http"]["href"], Range="bytes=100-199")

        assert b"".join(whole.streaming_content) == CONTENT
        assert part.status_code == 206
        assert b"".join(part.streaming_content) == CONTENT[100:200]
        assert update_of(board).status == "downloading"
        md5sum = target.get(links["md5sum"]["href"], Accept="text/plain")
        assert md5sum.content.decode() == f"{MD5}  player-2.0.0.swu\n"

    def test_another_file_name_is_404(
        self, target: DdiClient, rollout: Deployment, package: SoftwareUpdate
    ) -> None:
        path = f"/softwaremodules/{package.pk}/artifacts/other-1.0.0.swu"

        assert target.get(path).status_code == 404
        assert target.get(f"{path}.MD5SUM").status_code == 404

    def test_an_update_is_not_shown_while_its_window_is_closed(
        self,
        enabled: Tenant,
        target: DdiClient,
        board: Device,
        package: SoftwareUpdate,
        clock: datetime,
    ) -> None:
        start = (clock + timedelta(hours=3)).strftime("%H:00")
        end = (clock + timedelta(hours=4)).strftime("%H:00")
        windows = [{"days": DAYS, "from": start, "until": end}]
        start_rollout(package, create_member(enabled), clock, windows=windows)
        run_due_steps(clock)

        assert "deploymentBase" not in target.links()

    def test_an_update_that_has_begun_is_shown_after_its_window(
        self, target: DdiClient, board: Device, rollout: Deployment, clock: datetime
    ) -> None:
        action = target.deployment()["id"]
        target.feedback(action, "proceeding", details=["Installing."])
        start = (clock + timedelta(hours=3)).strftime("%H:00")
        end = (clock + timedelta(hours=4)).strftime("%H:00")
        Deployment.objects.update(windows=[{"days": DAYS, "from": start, "until": end}])

        deployment = target.deployment()

        assert deployment["id"] == action
        href = deployment["deployment"]["chunks"][0]["artifacts"][0]["_links"]["download"]["href"]
        assert target.get(href).status_code == 200

    def test_an_update_is_not_shown_while_all_download_slots_are_used(
        self, enabled: Tenant, target: DdiClient, rollout: Deployment, clock: datetime
    ) -> None:
        policies.change(concurrent_downloads=1, now=clock)
        (other,) = create_devices(enabled, 1)
        downloads.acquire_slot(other.pk, limit=1)
        assert "deploymentBase" not in target.links()

        downloads.release_slot(other.pk)

        assert "deploymentBase" in target.links()

    def test_an_update_waits_until_the_hashes_of_an_older_package_are_computed(
        self, target: DdiClient, rollout: Deployment, package: SoftwareUpdate
    ) -> None:
        SoftwareUpdate.objects.update(sha1="", md5="")
        assert "deploymentBase" not in target.links()

        assert package_hashes.compute_missing() == 1

        [chunk] = target.deployment()["deployment"]["chunks"]
        assert chunk["artifacts"][0]["hashes"]["sha1"] == SHA1
        assert package_hashes.compute_missing() == 0

    def test_hashes_of_a_file_that_has_changed_are_not_stored(
        self, package: SoftwareUpdate, package_files: Path
    ) -> None:
        SoftwareUpdate.objects.update(sha1="", md5="")
        (package_files / package.stored_name).write_bytes(b"x" * len(CONTENT))

        assert package_hashes.compute_missing() == 0


class TestFeedback:
    def test_progress_is_recorded(
        self, target: DdiClient, board: Device, rollout: Deployment
    ) -> None:
        action = target.deployment()["id"]

        response = target.feedback(
            action, "proceeding", result={"progress": {"cnt": 2, "of": 5}}, details=["Writing."]
        )

        assert response.status_code == 200
        update = update_of(board)
        assert (update.status, update.progress) == ("downloading", 40)
        assert target.links()["deploymentBase"].endswith(f"/{action}")

    def test_success_means_that_the_device_runs_the_version(
        self, target: DdiClient, board: Device, rollout: Deployment, clock: datetime
    ) -> None:
        action = target.deployment()["id"]

        assert target.feedback(action, "closed", "success").status_code == 200

        board.refresh_from_db()
        assert board.app_version == "2.0.0"
        run_due_steps(datetime.now(UTC) + timedelta(minutes=1))
        assert update_of(board).status == "completed"
        links = target.links()
        assert "deploymentBase" not in links
        installed = target.get(links["installedBase"])
        assert installed.json()["id"] == action

    def test_success_of_a_system_update_sets_the_version_of_the_system(
        self, enabled: Tenant, target: DdiClient, board: Device, clock: datetime, tmp_path: Path
    ) -> None:
        product = create_product(clock, name="image", reports="os_version")
        package = create_released_package(
            clock, tmp_path / "image", "5.1.0", platform="linux", product=product
        )
        start_rollout(package, create_member(enabled), clock)
        run_due_steps(clock)
        deployment = target.deployment()
        assert deployment["deployment"]["chunks"][0]["part"] == "os"

        target.feedback(deployment["id"], "closed", "success")

        board.refresh_from_db()
        assert (board.app_version, board.os_version) == ("1.0.0", "5.1.0")

    def test_failure_is_recorded_with_its_details(
        self, target: DdiClient, board: Device, rollout: Deployment
    ) -> None:
        action = target.deployment()["id"]

        target.feedback(action, "closed", "failure", code=12, details=["ERROR: bad", "signature"])

        update = update_of(board)
        assert (update.status, update.error_code) == ("failed", "code_12")
        assert update.error == "ERROR: bad signature"
        assert "deploymentBase" not in target.links()

    def test_messages_of_the_device_are_kept_and_sent_back_on_request(
        self, target: DdiClient, rollout: Deployment
    ) -> None:
        action = target.deployment()["id"]
        for number in range(30):
            details = [f"{number}: {index}" for index in range(4)]
            target.feedback(action, "proceeding", details=[*details, "x" * 900])

        messages = HawkbitAction.objects.get().messages
        assert len(messages) == 100
        assert messages[-1] == "x" * 512
        assert messages[-2] == "29: 3"
        history = target.get(f"/deploymentBase/{action}?actionHistory=2").json()["actionHistory"]
        assert history == {"status": "RUNNING", "messages": ["x" * 512, "29: 3"]}
        everything = target.get(f"/deploymentBase/{action}?actionHistory=-1").json()
        assert len(everything["actionHistory"]["messages"]) == 100
        assert "actionHistory" not in target.get(f"/deploymentBase/{action}?actionHistory=x").json()

    def test_feedback_for_a_closed_action_is_410(
        self, target: DdiClient, rollout: Deployment
    ) -> None:
        action = target.deployment()["id"]
        target.feedback(action, "closed", "failure")

        response = target.feedback(action, "closed", "success")

        assert (response.status_code, code(response)) == (410, "action_closed")

    def test_feedback_for_an_unknown_action_is_404(self, target: DdiClient) -> None:
        assert target.feedback(4711, "closed", "success").status_code == 404

    def test_a_retry_is_a_new_action(
        self, target: DdiClient, board: Device, rollout: Deployment, clock: datetime
    ) -> None:
        first = target.deployment()["id"]
        target.feedback(first, "closed", "failure", details=["no space"])
        rollout.refresh_from_db()
        rollout_control.retry(deployment=rollout, now=datetime.now(UTC))
        run_due_steps(datetime.now(UTC))

        second = target.deployment()["id"]

        assert second != first
        assert target.feedback(first, "closed", "success").status_code == 410
        assert target.feedback(second, "closed", "success").status_code == 200

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"status": "done"},
            {"status": {"execution": 7, "result": [], "details": "text"}},
            {"status": {"execution": "dancing", "result": {"progress": {"cnt": 1, "of": 0}}}},
            {"status": {"execution": "proceeding", "details": [1, None, "a\x00b", "\ud800"]}},
        ],
    )
    def test_a_strange_report_counts_as_progress(
        self, target: DdiClient, board: Device, rollout: Deployment, body: Any
    ) -> None:
        action = target.deployment()["id"]

        path = f"{target.base}/deploymentBase/{action}/feedback"
        response = target.api.post(path, json.dumps(body), content_type="application/json")

        assert response.status_code == 200
        assert update_of(board).status == "downloading"


class TestCancellation:
    def test_a_cancelled_update_is_offered_for_cancellation_until_it_is_confirmed(
        self, target: DdiClient, board: Device, rollout: Deployment, clock: datetime
    ) -> None:
        action = target.deployment()["id"]
        rollout.refresh_from_db()
        rollout_control.abort(deployment=rollout, reason="wrong file", now=clock)
        run_due_steps(datetime.now(UTC) + timedelta(seconds=1))

        links = target.links()
        assert "deploymentBase" not in links
        cancel = target.get(links["cancelAction"]).json()
        assert cancel == {"id": action, "cancelAction": {"stopId": action}}
        assert target.get(f"/deploymentBase/{action}").status_code == 404
        assert target.feedback(action, "closed", "failure").status_code == 410
        answer = {
            "id": action,
            "status": {"execution": "closed", "result": {"finished": "success"}},
        }
        path = f"{target.base}/cancelAction/{action}/feedback"
        assert target.api.post(path, answer).status_code == 200
        assert "cancelAction" not in target.links()
        assert target.api.post(path, answer).status_code == 410

    def test_a_success_counts_though_the_update_was_cancelled_meanwhile(
        self, target: DdiClient, board: Device, rollout: Deployment, clock: datetime
    ) -> None:
        action = target.deployment()["id"]
        rollout.refresh_from_db()
        rollout_control.abort(deployment=rollout, now=clock)
        run_due_steps(datetime.now(UTC) + timedelta(seconds=1))

        assert target.feedback(action, "closed", "success").status_code == 200

        board.refresh_from_db()
        assert board.app_version == "2.0.0"
        links = target.links()
        assert "cancelAction" not in links
        assert target.get(links["installedBase"]).status_code == 200
        assert target.feedback(action, "closed", "success").status_code == 410

    def test_a_cancellation_that_nobody_confirms_is_given_up(
        self, target: DdiClient, board: Device, rollout: Deployment, clock: datetime
    ) -> None:
        target.deployment()
        rollout.refresh_from_db()
        rollout_control.abort(deployment=rollout, now=clock)
        run_due_steps(datetime.now(UTC) + timedelta(seconds=1))
        assert "cancelAction" in target.links()

        UpdateStatus.objects.update(ended_at=clock - timedelta(hours=2))

        assert "cancelAction" not in target.links()

    def test_an_action_that_was_not_cancelled_cannot_be_confirmed(
        self, target: DdiClient, rollout: Deployment
    ) -> None:
        action = target.deployment()["id"]

        assert target.get(f"/cancelAction/{action}").status_code == 404

    def test_a_device_that_gives_up_has_failed(
        self, target: DdiClient, board: Device, rollout: Deployment
    ) -> None:
        action = target.deployment()["id"]

        target.feedback(action, "canceled", details=["by the user"])

        assert update_of(board).error_code == "canceled"


class TestAttributes:
    def test_a_device_is_asked_for_its_attributes_at_first_and_after_an_update(
        self, target: DdiClient, rollout: Deployment
    ) -> None:
        path = target.links()["configData"]
        target.api.put(path, {"data": {"revision": "2"}})
        assert "configData" not in target.links()

        target.feedback(target.deployment()["id"], "closed", "success")

        assert "configData" in target.links()

    def test_known_attributes_become_facts_of_the_device(
        self, target: DdiClient, board: Device
    ) -> None:
        data = {"os_version": "5.15", "app_version": "1.2", "model": "IPC", "manufacturer": "ACME"}

        response = target.api.put(f"{target.base}/configData", {"data": {**data, "rev": 2}})

        assert response.status_code == 200
        board.refresh_from_db()
        assert (board.os_version, board.app_version, board.model) == ("5.15", "1.2", "IPC")
        assert DeviceHardware.objects.get(device=board).manufacturer == "ACME"
        assert HawkbitTarget.objects.get(device=board).attributes == {**data, "rev": "2"}

    @pytest.mark.parametrize(
        ("mode", "expected"),
        [
            ("merge", {"a": "1", "b": "3", "c": "4"}),
            ("replace", {"b": "3", "c": "4"}),
            ("remove", {"a": "1"}),
            ("melt", {"a": "1", "b": "3", "c": "4"}),
            (None, {"a": "1", "b": "3", "c": "4"}),
        ],
    )
    def test_attributes_are_merged_replaced_or_removed(
        self, target: DdiClient, board: Device, mode: Any, expected: Any
    ) -> None:
        path = f"{target.base}/configData"
        target.api.put(path, {"data": {"a": "1", "b": "2"}})

        target.api.put(path, {"mode": mode, "data": {"b": "3", "c": "4"}})

        assert HawkbitTarget.objects.get(device=board).attributes == expected

    def test_versions_that_a_device_repeats_do_not_undo_an_update(
        self, target: DdiClient, board: Device, rollout: Deployment
    ) -> None:
        path = f"{target.base}/configData"
        target.api.put(path, {"data": {"app_version": "1.0.0"}})
        target.feedback(target.deployment()["id"], "closed", "success")

        target.api.put(path, {"data": {"app_version": "1.0.0", "revision": "2"}})

        board.refresh_from_db()
        assert board.app_version == "2.0.0"

    def test_replacing_by_nothing_changes_nothing(self, target: DdiClient, board: Device) -> None:
        path = f"{target.base}/configData"
        target.api.put(path, {"data": {"a": "1"}})

        target.api.put(path, {"mode": "replace"})

        assert HawkbitTarget.objects.get(device=board).attributes == {"a": "1"}

    def test_what_cannot_be_stored_is_cut_or_left_out(
        self, target: DdiClient, board: Device
    ) -> None:
        many = {f"key-{number}": "x" for number in range(200)}
        data = {"nested": {"a": 1}, "long": "y" * 500, "nul": "a\x00b", "on": True, **many}

        target.api.put(f"{target.base}/configData", {"data": data})

        stored = HawkbitTarget.objects.get(device=board).attributes
        assert len(stored) == 100
        assert "nested" not in stored
        assert (stored["long"], stored["on"]) == ("y" * 128, "true")
        assert "\x00" not in stored["nul"]
        noted = set(UnreadableField.objects.for_device(board).values_list("field", flat=True))
        assert {"data.nested", "data.long", "data"} <= noted

    def test_data_that_is_no_object_counts_as_no_attributes(
        self, target: DdiClient, board: Device
    ) -> None:
        assert target.api.put(f"{target.base}/configData", {"data": [1]}).status_code == 200
        assert HawkbitTarget.objects.get(device=board).attributes == {}


def test_links_lead_to_the_host_that_the_device_has_used(
    target: DdiClient, rollout: Deployment
) -> None:
    with override_settings(ALLOWED_HOSTS=["mtls.example.com"]):
        response = target.get(Host="mtls.example.com")

    href = response.json()["_links"]["deploymentBase"]["href"]
    assert href.startswith("http://mtls.example.com/")
