"""Tests of the API for devices: offers, downloads and feedback."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings
from redis import Redis
from rest_framework.test import APIClient

from devices.configurations.services import layers
from devices.configurations.services.layers import Subject
from devices.registry.models import Device
from devices.remote_control.tests.remote_control import claims, errors
from devices.updates.models import Deployment, SoftwareUpdate, UpdateStatus
from devices.updates.services import policies, rollout_control
from devices.updates.tests.rollouts import (
    CONTENT,
    create_devices,
    create_member,
    create_released_package,
    install_update,
    report_failure,
    run_due_steps,
    start_rollout,
)
from tenants.context import tenant_scope
from tenants.models import Tenant
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db
MY_UPDATE = "/devices/me/update"

Calling = Callable[[Device], APIClient]


@pytest.fixture
def clock() -> datetime:
    """Return the real time, because the API uses the real time."""
    return datetime.now(UTC)


@pytest.fixture
def package(acting: Tenant, clock: datetime, tmp_path: Path) -> SoftwareUpdate:
    return create_released_package(clock, tmp_path / "in")


@pytest.fixture
def devices(acting: Tenant) -> list[Device]:
    return create_devices(acting, 2)


@pytest.fixture
def rollout(
    acting: Tenant, devices: list[Device], package: SoftwareUpdate, clock: datetime
) -> Deployment:
    rollout = start_rollout(package, create_member(acting), clock)
    run_due_steps(clock)
    return rollout


@pytest.fixture
def client(devices: list[Device], rollout: Deployment, as_device: Calling) -> APIClient:
    return as_device(devices[0])


def feedback(client: APIClient, rollout: Deployment, status: str, **more: Any) -> Any:
    fields = {"attempt": 1, "status": status, **more}
    return client.post(f"/devices/me/updates/{rollout.pk}/feedback", fields)


def update_of(device: Device) -> UpdateStatus:
    return UpdateStatus.objects.get(device=device)


def body(response: Any) -> bytes:
    return b"".join(response.streaming_content)


def file_path(package: SoftwareUpdate) -> str:
    return f"/updates/packages/{package.pk}/file"


class TestOffer:
    def test_a_device_gets_its_update(
        self, client: APIClient, devices: list[Device], rollout: Deployment, package: SoftwareUpdate
    ) -> None:
        response = client.get(MY_UPDATE)

        assert response.status_code == 200
        order = response.json().pop("order")
        assert claims(order)["aud"] == str(devices[0].pk)
        assert claims(order)["sha256"] == package.sha256
        assert claims(order)["rollback"] is False
        assert {**response.json(), "order": ""} == {
            "order": "",
            "rollout": str(rollout.pk),
            "attempt": 1,
            "product": "player",
            "version": "2.0.0",
            "rollback": False,
            "status": "pending",
            "not_before": None,
            "window_ends": None,
            "package": {
                "id": str(package.pk),
                "url": f"{settings.PUBLIC_URL}{file_path(package)}",
                "size": len(CONTENT),
                "sha256": package.sha256,
                "signature": package.signature,
                "platform": "android",
            },
        }

    def test_connect_says_that_an_update_is_waiting(self, client: APIClient) -> None:
        response = client.post("/devices/connect", {})

        assert response.json()["next_steps"]["update_waiting"] is True

    def test_a_device_without_an_update_gets_204(self, acting: Tenant, as_device: Calling) -> None:
        (other,) = create_devices(acting, 1)

        assert as_device(other).get(MY_UPDATE).status_code == 204

    def test_the_newest_update_is_offered(
        self,
        acting: Tenant,
        client: APIClient,
        rollout: Deployment,
        clock: datetime,
        tmp_path: Path,
    ) -> None:
        start_rollout(
            create_released_package(clock, tmp_path / "in", "3.0"), create_member(acting), clock
        )
        run_due_steps(clock)

        assert client.get(MY_UPDATE).json()["version"] == "3.0"

    def test_an_update_that_is_being_installed_is_offered_first(
        self,
        acting: Tenant,
        client: APIClient,
        rollout: Deployment,
        clock: datetime,
        tmp_path: Path,
    ) -> None:
        feedback(client, rollout, "installing")
        start_rollout(
            create_released_package(clock, tmp_path / "in", "3.0"), create_member(acting), clock
        )
        run_due_steps(clock)

        response = client.get(MY_UPDATE).json()

        assert (response["version"], response["status"]) == ("2.0.0", "installing")

    def test_an_update_is_completed_if_the_device_has_the_version_already(
        self, client: APIClient, devices: list[Device], rollout: Deployment
    ) -> None:
        Device.objects.update(app_version="2.0.0")

        assert client.get(MY_UPDATE).status_code == 204
        row = update_of(devices[0])
        assert (row.status, row.started_at) == ("completed", None)
        assert client.post("/devices/connect", {}).json()["next_steps"]["update_waiting"] is False

    def test_a_paused_rollout_is_offered_to_devices_that_have_started(
        self,
        client: APIClient,
        devices: list[Device],
        rollout: Deployment,
        clock: datetime,
        as_device: Calling,
    ) -> None:
        feedback(client, rollout, "downloading", progress=5)
        rollout_control.pause(deployment=rollout, now=clock)

        assert client.get(MY_UPDATE).status_code == 200
        assert as_device(devices[1]).get(MY_UPDATE).status_code == 204

    def test_a_rollback_is_marked_in_the_offer(
        self,
        acting: Tenant,
        client: APIClient,
        devices: list[Device],
        rollout: Deployment,
        clock: datetime,
    ) -> None:
        install_update(rollout, devices[0].pk, clock)
        run_due_steps(clock + timedelta(minutes=1))
        rollout_control.roll_back(
            deployment=rollout, by=create_member(acting), now=clock + timedelta(minutes=1)
        )
        run_due_steps(clock + timedelta(minutes=1))

        response = client.get(MY_UPDATE).json()

        assert (response["version"], response["rollback"], response["package"]) == (
            "1.0.0",
            True,
            None,
        )

    def test_a_rollback_to_an_existing_package_is_offered_with_its_file(
        self,
        acting: Tenant,
        client: APIClient,
        devices: list[Device],
        rollout: Deployment,
        clock: datetime,
        tmp_path: Path,
    ) -> None:
        earlier = create_released_package(clock, tmp_path / "in", "1.0.0", content=b"one")
        install_update(rollout, devices[0].pk, clock)
        run_due_steps(clock + timedelta(minutes=1))
        soon = clock + timedelta(minutes=1)
        rollout_control.roll_back(deployment=rollout, by=create_member(acting), now=soon)
        run_due_steps(soon)

        response = client.get(MY_UPDATE).json()
        assert (response["version"], response["rollback"]) == ("1.0.0", True)
        assert response["package"]["id"] == str(earlier.pk)
        assert body(client.get(file_path(earlier))) == b"one"

        Device.objects.filter(pk=devices[0].pk).update(app_version="2.5")
        assert client.get(MY_UPDATE).status_code == 204  # the device runs another version

    def test_maintenance_windows_use_the_local_time_of_the_device(
        self,
        acting: Tenant,
        devices: list[Device],
        package: SoftwareUpdate,
        clock: datetime,
        as_device: Calling,
    ) -> None:
        """The maintenance window is open now in one time zone, and closed in another."""
        utc = clock.astimezone(UTC)
        day = f"{utc:%A}".lower()
        for device, zone in zip(devices, ("UTC", "Pacific/Kiritimati"), strict=True):
            layers.save(
                subject=Subject(scope="device", device=device),
                document={"time_zone": zone},
                now=clock,
            )
        window = {
            "days": [day, f"{utc - timedelta(days=1):%A}".lower()],
            "from": f"{utc - timedelta(hours=1):%H:%M}",
            "until": f"{utc + timedelta(hours=1):%H:%M}",
        }
        start_rollout(package, create_member(acting), clock, windows=[window])
        run_due_steps(clock)

        offers = [as_device(device).get(MY_UPDATE).json() for device in devices]

        assert offers[0]["not_before"] is None
        assert offers[0]["window_ends"] is not None
        assert offers[1]["not_before"] is not None
        early = as_device(devices[1]).get(file_path(package))
        assert errors(early) == (429, [("update_not_due", None)])
        assert int(early["Retry-After"]) > 0

    def test_a_quarantined_device_gets_403(
        self, client: APIClient, devices: list[Device], clock: datetime
    ) -> None:
        Device.objects.update(quarantined_at=clock)

        assert client.get(MY_UPDATE).status_code == 403


class TestFile:
    def test_a_device_in_the_rollout_downloads_the_file(
        self, client: APIClient, devices: list[Device], package: SoftwareUpdate
    ) -> None:
        response = client.get(file_path(package))

        assert response.status_code == 200
        assert body(response) == CONTENT
        assert response["Content-Length"] == str(len(CONTENT))
        assert response["Accept-Ranges"] == "bytes"
        assert response["ETag"] == f'"{package.sha256}"'
        row = update_of(devices[0])
        assert (row.status, row.from_version) == ("downloading", "1.0.0")

    def test_other_callers_cannot_download_the_file(
        self,
        acting: Tenant,
        rollout: Deployment,
        package: SoftwareUpdate,
        as_device: Calling,
        member: Callable[..., APIClient],
    ) -> None:
        (other,) = create_devices(acting, 1)

        assert errors(as_device(other).get(file_path(package))) == (
            404,
            [("update_not_found", None)],
        )
        assert member().get(file_path(package)).status_code == 403
        assert APIClient().get(file_path(package)).status_code == 401

    @pytest.mark.parametrize(
        ("range_", "start", "end"),
        [
            ("bytes=0-99", 0, 100),
            ("bytes=100-", 100, len(CONTENT)),
            ("bytes=-50", len(CONTENT) - 50, len(CONTENT)),
            ("bytes=0-", 0, len(CONTENT)),
            (f"bytes=10-{10**12}", 10, len(CONTENT)),
            ("bytes=-99999999", 0, len(CONTENT)),
        ],
    )
    def test_a_range_is_sent(
        self, client: APIClient, package: SoftwareUpdate, range_: str, start: int, end: int
    ) -> None:
        response = client.get(file_path(package), headers={"Range": range_})

        assert response.status_code == 206
        assert body(response) == CONTENT[start:end]
        assert response["Content-Range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"
        assert response["Content-Length"] == str(end - start)

    @pytest.mark.parametrize("range_", ["bytes=10240-", "bytes=99999-100000", "bytes=-0"])
    def test_a_range_beyond_the_end_gets_416_with_the_size(
        self, client: APIClient, package: SoftwareUpdate, range_: str
    ) -> None:
        response = client.get(file_path(package), headers={"Range": range_})

        assert errors(response) == (416, [("range_not_satisfiable", None)])
        assert response["Content-Range"] == f"bytes */{len(CONTENT)}"

    @pytest.mark.parametrize(
        "range_", ["bytes=5-2", "bytes=-", "lines=0-9", "bytes=0-1,5-6", "bytes=x-"]
    )
    def test_an_unsupported_range_gets_the_whole_file(
        self, client: APIClient, package: SoftwareUpdate, range_: str
    ) -> None:
        response = client.get(file_path(package), headers={"Range": range_})

        assert (response.status_code, body(response)) == (200, CONTENT)

    def test_if_range_with_another_etag_gets_the_whole_file(
        self, client: APIClient, package: SoftwareUpdate
    ) -> None:
        part = {"Range": "bytes=100-"}
        same = client.get(file_path(package), headers={**part, "If-Range": f'"{package.sha256}"'})
        other = client.get(file_path(package), headers={**part, "If-Range": '"other"'})

        assert (same.status_code, body(same)) == (206, CONTENT[100:])
        assert (other.status_code, body(other)) == (200, CONTENT)

    def test_a_download_can_be_resumed_at_any_byte(
        self, client: APIClient, package: SoftwareUpdate
    ) -> None:
        received = b""
        while len(received) < len(CONTENT):
            response = client.get(file_path(package), headers={"Range": f"bytes={len(received)}-"})
            received += body(response)[:1537]  # then the connection is lost

        assert received == CONTENT

    @override_settings(PACKAGES_ACCEL="/packages")
    def test_with_packages_accel_the_proxy_sends_the_file(
        self, client: APIClient, package: SoftwareUpdate
    ) -> None:
        response = client.get(file_path(package))

        assert response["X-Accel-Redirect"] == f"/packages/{package.stored_name}"
        assert response.content == b""

    def test_a_missing_file_gets_503(
        self, client: APIClient, package: SoftwareUpdate, package_files: Path
    ) -> None:
        (package_files / package.stored_name).unlink()
        client.raise_request_exception = False  # the error becomes a response

        response = client.get(file_path(package))

        assert errors(response) == (503, [("package_file_missing", None)])

    def test_concurrent_downloads_are_limited(
        self,
        client: APIClient,
        devices: list[Device],
        package: SoftwareUpdate,
        rollout: Deployment,
        as_device: Calling,
        clock: datetime,
    ) -> None:
        policies.change(concurrent_downloads=1, now=clock)
        other = as_device(devices[1])
        assert client.get(file_path(package)).status_code == 200

        busy = other.get(file_path(package))
        assert errors(busy) == (429, [("downloads_busy", None)])
        assert int(busy["Retry-After"]) > 0
        assert update_of(devices[1]).status == "pending"
        assert client.get(file_path(package)).status_code == 200  # the device keeps its slot

        feedback(client, rollout, "installing")
        assert other.get(file_path(package)).status_code == 200

    def test_a_download_slot_expires(
        self,
        client: APIClient,
        devices: list[Device],
        package: SoftwareUpdate,
        as_device: Calling,
        clock: datetime,
    ) -> None:
        policies.change(concurrent_downloads=1, now=clock)
        client.get(file_path(package))
        key = f"{settings.KEY_PREFIX}downloads:{devices[0].tenant_id}"
        with Redis.from_url(settings.REDIS_COUNTERS_URL) as redis:
            redis.zadd(key, {str(devices[0].pk): 1})  # expired in 1970

        assert as_device(devices[1]).get(file_path(package)).status_code == 200

    @override_settings(REDIS_COUNTERS_URL="redis://127.0.0.1:1/0")
    def test_without_redis_downloads_are_not_limited(
        self, client: APIClient, package: SoftwareUpdate
    ) -> None:
        assert client.get(file_path(package)).status_code == 200


class TestFeedback:
    def test_progress_is_recorded(
        self, client: APIClient, devices: list[Device], rollout: Deployment
    ) -> None:
        assert feedback(client, rollout, "downloading", progress=40).status_code == 204

        row = update_of(devices[0])
        assert (row.status, row.progress, row.from_version) == ("downloading", 40, "1.0.0")

    def test_late_reports_do_not_reset_the_status(
        self, client: APIClient, devices: list[Device], rollout: Deployment
    ) -> None:
        reports = [
            ("downloading", 80),
            ("downloading", 40),
            ("installing", 10),
            ("downloading", 99),
            ("installed", 0),
            ("installing", 50),
        ]

        responses = [
            feedback(client, rollout, status, progress=percent) for status, percent in reports
        ]

        row = update_of(devices[0])
        assert {response.status_code for response in responses} == {204}
        assert (row.status, row.progress) == ("installing", 100)

    def test_a_late_downloading_report_does_not_reset_completed(
        self, client: APIClient, devices: list[Device], rollout: Deployment, clock: datetime
    ) -> None:
        install_update(rollout, devices[0].pk, clock)
        run_due_steps(clock + timedelta(minutes=1))

        late = feedback(client, rollout, "downloading", progress=10)
        failed = feedback(client, rollout, "failed")

        assert late.status_code == 204
        assert errors(failed) == (410, [("update_ended", None)])
        assert update_of(devices[0]).status == "completed"

    def test_a_repeated_failure_report_has_no_further_effect(
        self, client: APIClient, devices: list[Device], rollout: Deployment
    ) -> None:
        fields = {"error_code": "no_space", "error": "The disk is full."}

        first = feedback(client, rollout, "failed", **fields)
        again = feedback(client, rollout, "failed", **fields)

        row = update_of(devices[0])
        assert (first.status_code, again.status_code) == (204, 204)
        assert (row.status, row.error_code, row.error) == (
            "failed",
            "no_space",
            "The disk is full.",
        )
        assert client.get(MY_UPDATE).status_code == 204

    def test_feedback_on_an_aborted_rollout_gets_410(
        self, client: APIClient, rollout: Deployment, clock: datetime
    ) -> None:
        rollout_control.abort(deployment=rollout, now=clock)

        before_the_step = feedback(client, rollout, "downloading", progress=1)
        run_due_steps(clock)
        after = feedback(client, rollout, "failed")

        for response in (before_the_step, after):
            assert errors(response) == (410, [("update_ended", None)])
            assert response.json()["current"] == {"status": "cancelled"}

    def test_feedback_on_an_earlier_attempt_gets_410(
        self, client: APIClient, devices: list[Device], rollout: Deployment, clock: datetime
    ) -> None:
        report_failure(rollout, devices[0].pk, clock)
        rollout_control.retry(deployment=rollout, now=clock)
        run_due_steps(clock)

        late = feedback(client, rollout, "downloading", progress=50)
        current = feedback(client, rollout, "downloading", progress=5, attempt=2)
        unknown = feedback(client, rollout, "downloading", attempt=9, progress=6)

        assert errors(late) == (410, [("update_ended", None)])
        assert (current.status_code, unknown.status_code) == (204, 204)
        assert update_of(devices[0]).progress == 6

    def test_feedback_of_a_device_outside_the_rollout_gets_404(
        self, acting: Tenant, rollout: Deployment, as_device: Calling
    ) -> None:
        (other,) = create_devices(acting, 1)

        response = feedback(as_device(other), rollout, "downloading")

        assert errors(response) == (404, [("update_not_found", None)])

    @pytest.mark.parametrize("status", ["done", "\ud800", None])
    def test_feedback_without_a_status_is_rejected(
        self, client: APIClient, rollout: Deployment, status: str | None
    ) -> None:
        body = json.dumps({"attempt": 1, "status": status})
        path = f"/devices/me/updates/{rollout.pk}/feedback"

        response = client.post(path, body, content_type="application/json")

        assert response.status_code == 400
        assert [error[1] for error in errors(response)[1]] == ["status"]


@pytest.mark.parametrize(
    ("fields", "error_code"),
    [
        (
            {"error_code": "INSTALL_FAILED_INSUFFICIENT_STORAGE"},
            "install_failed_insufficient_storage",
        ),
        ({"error": "one\ntwo\nthree"}, "failed"),
        ({"error": "x" * 2000}, "failed"),
        ({"error": None, "progress": "150 %", "speed": 3}, "failed"),
        ({"attempt": "1"}, "failed"),
        ({"attempt": None}, "failed"),
        ({"attempt": 0}, "failed"),
        ({"attempt": 7}, "failed"),
    ],
)
def test_a_failed_update_counts_with_any_error(
    client: APIClient,
    rollout: Deployment,
    devices: list[Device],
    fields: dict[str, Any],
    error_code: str,
) -> None:
    response = feedback(client, rollout, "failed", **fields)

    assert response.status_code == 204
    update = update_of(devices[0])
    assert (update.status, update.error_code) == ("failed", error_code)
    assert len(update.error) <= 500
    assert "\n" not in update.error


def test_the_command_stream_says_whether_an_update_is_waiting(
    client: APIClient, devices: list[Device], as_device: Calling
) -> None:
    response = client.get("/devices/me/commands/stream").json()

    assert response == {"sequence": 0, "update_waiting": True}


def test_a_device_cannot_see_the_rollout_of_another_tenant(
    rollout: Deployment, as_device: Calling, db: None
) -> None:
    other = TenantFactory.create()
    with tenant_scope(other.pk):
        (device,) = create_devices(other, 1)

    response = feedback(as_device(device), rollout, "downloading")

    assert response.status_code == 404
