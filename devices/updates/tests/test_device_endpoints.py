"""What a device is offered, the file it fetches, and what it says of it."""

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
    fails,
    fleet,
    person,
    released,
    started,
    tick,
    updates,
)
from tenants.context import tenant_scope
from tenants.models import Tenant
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db
MINE = "/devices/me/update"

Calling = Callable[[Device], APIClient]


@pytest.fixture
def clock() -> datetime:
    """What devices do is done now."""
    return datetime.now(UTC)


@pytest.fixture
def package(acting: Tenant, clock: datetime, tmp_path: Path) -> SoftwareUpdate:
    return released(clock, tmp_path / "in")


@pytest.fixture
def devices(acting: Tenant) -> list[Device]:
    return fleet(acting, 2)


@pytest.fixture
def rollout(
    acting: Tenant, devices: list[Device], package: SoftwareUpdate, clock: datetime
) -> Deployment:
    row = started(package, person(acting), clock)
    tick(clock)
    return row


@pytest.fixture
def box(devices: list[Device], rollout: Deployment, as_device: Calling) -> APIClient:
    return as_device(devices[0])


def feedback(box: APIClient, row: Deployment, status: str, **more: Any) -> Any:
    said = {"attempt": 1, "status": status, **more}
    return box.post(f"/devices/me/updates/{row.pk}/feedback", said)


def mine(device: Device) -> UpdateStatus:
    return UpdateStatus.objects.get(device=device)


def body(answer: Any) -> bytes:
    return b"".join(answer.streaming_content)


def file_of(package: SoftwareUpdate) -> str:
    return f"/updates/packages/{package.pk}/file"


class TestOffer:
    def test_a_device_is_told_what_to_install(
        self,
        box: APIClient,
        devices: list[Device],
        rollout: Deployment,
        package: SoftwareUpdate,
    ) -> None:
        told = box.get(MINE)

        assert told.status_code == 200
        order = told.json().pop("order")
        assert claims(order)["aud"] == str(devices[0].pk)
        assert claims(order)["sha256"] == package.sha256
        assert claims(order)["rollback"] is False
        assert {**told.json(), "order": ""} == {
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
                "url": f"{settings.PUBLIC_URL}{file_of(package)}",
                "size": len(CONTENT),
                "sha256": package.sha256,
                "signature": package.signature,
                "platform": "android",
            },
        }

    def test_connect_says_that_something_waits(self, box: APIClient) -> None:
        told = box.post("/devices/connect", {})

        assert told.json()["next_steps"]["update_waiting"] is True

    def test_a_device_that_has_nothing_before_it_is_told_nothing(
        self, acting: Tenant, as_device: Calling
    ) -> None:
        (other,) = fleet(acting, 1)

        assert as_device(other).get(MINE).status_code == 204

    def test_the_newest_is_offered(
        self,
        acting: Tenant,
        box: APIClient,
        rollout: Deployment,
        clock: datetime,
        tmp_path: Path,
    ) -> None:
        started(released(clock, tmp_path / "in", "3.0"), person(acting), clock)
        tick(clock)

        assert box.get(MINE).json()["version"] == "3.0"

    def test_what_is_being_installed_comes_to_its_end_first(
        self,
        acting: Tenant,
        box: APIClient,
        rollout: Deployment,
        clock: datetime,
        tmp_path: Path,
    ) -> None:
        feedback(box, rollout, "installing")
        started(released(clock, tmp_path / "in", "3.0"), person(acting), clock)
        tick(clock)

        told = box.get(MINE).json()

        assert (told["version"], told["status"]) == ("2.0.0", "installing")

    def test_who_came_to_the_version_in_another_way_has_nothing_to_do(
        self, box: APIClient, devices: list[Device], rollout: Deployment
    ) -> None:
        Device.objects.update(app_version="2.0.0")

        assert box.get(MINE).status_code == 204
        row = mine(devices[0])
        assert (row.status, row.started_at) == ("completed", None)
        assert (
            box.post("/devices/connect", {}).json()["next_steps"]["update_waiting"]
            is False
        )

    def test_a_rollout_that_rests_is_offered_to_whom_has_begun(
        self,
        box: APIClient,
        devices: list[Device],
        rollout: Deployment,
        clock: datetime,
        as_device: Calling,
    ) -> None:
        feedback(box, rollout, "downloading", progress=5)
        rollout_control.pause(deployment=rollout, now=clock)

        assert box.get(MINE).status_code == 200
        assert as_device(devices[1]).get(MINE).status_code == 204

    def test_a_way_back_says_that_it_is_one(
        self,
        acting: Tenant,
        box: APIClient,
        devices: list[Device],
        rollout: Deployment,
        clock: datetime,
    ) -> None:
        updates(rollout, devices[0].pk, clock)
        tick(clock + timedelta(minutes=1))
        rollout_control.roll_back(
            deployment=rollout,
            by=person(acting),
            now=clock + timedelta(minutes=1),
        )
        tick(clock + timedelta(minutes=1))

        told = box.get(MINE).json()

        assert (told["version"], told["rollback"], told["package"]) == (
            "1.0.0",
            True,
            None,
        )

    def test_a_way_back_to_a_version_that_is_here_is_offered_with_its_file(
        self,
        acting: Tenant,
        box: APIClient,
        devices: list[Device],
        rollout: Deployment,
        clock: datetime,
        tmp_path: Path,
    ) -> None:
        earlier = released(clock, tmp_path / "in", "1.0.0", content=b"one")
        updates(rollout, devices[0].pk, clock)
        tick(clock + timedelta(minutes=1))
        soon = clock + timedelta(minutes=1)
        rollout_control.roll_back(deployment=rollout, by=person(acting), now=soon)
        tick(soon)

        told = box.get(MINE).json()
        assert (told["version"], told["rollback"]) == ("1.0.0", True)
        assert told["package"]["id"] == str(earlier.pk)
        assert body(box.get(file_of(earlier))) == b"one"

        Device.objects.filter(pk=devices[0].pk).update(app_version="2.5")
        assert box.get(MINE).status_code == 204  # it has moved on

    def test_windows_are_by_the_clock_of_the_device(
        self,
        acting: Tenant,
        devices: list[Device],
        package: SoftwareUpdate,
        clock: datetime,
        as_device: Calling,
    ) -> None:
        """Whatever the time is: a window that is open in one zone, closed in the other."""
        here = clock.astimezone(UTC)
        day = f"{here:%A}".lower()
        for device, zone in zip(devices, ("UTC", "Pacific/Kiritimati"), strict=True):
            layers.save(
                subject=Subject(scope="device", device=device),
                document={"time_zone": zone},
                now=clock,
            )
        window = {
            "days": [day, f"{here - timedelta(days=1):%A}".lower()],
            "from": f"{here - timedelta(hours=1):%H:%M}",
            "until": f"{here + timedelta(hours=1):%H:%M}",
        }
        started(package, person(acting), clock, windows=[window])
        tick(clock)

        told = [as_device(device).get(MINE).json() for device in devices]

        assert told[0]["not_before"] is None
        assert told[0]["window_ends"] is not None
        assert told[1]["not_before"] is not None
        early = as_device(devices[1]).get(file_of(package))
        assert errors(early) == (429, [("update_not_yet", None)])
        assert int(early["Retry-After"]) > 0

    def test_a_device_in_quarantine_gets_nothing(
        self, box: APIClient, devices: list[Device], clock: datetime
    ) -> None:
        Device.objects.update(quarantined_at=clock)

        assert box.get(MINE).status_code == 403


class TestFile:
    def test_a_device_that_is_meant_to_have_it_gets_it(
        self, box: APIClient, devices: list[Device], package: SoftwareUpdate
    ) -> None:
        answer = box.get(file_of(package))

        assert answer.status_code == 200
        assert body(answer) == CONTENT
        assert answer["Content-Length"] == str(len(CONTENT))
        assert answer["Accept-Ranges"] == "bytes"
        assert answer["ETag"] == f'"{package.sha256}"'
        row = mine(devices[0])
        assert (row.status, row.from_version) == ("downloading", "1.0.0")

    def test_nobody_else_does(
        self,
        acting: Tenant,
        rollout: Deployment,
        package: SoftwareUpdate,
        as_device: Calling,
        member: Callable[..., APIClient],
    ) -> None:
        (other,) = fleet(acting, 1)

        assert errors(as_device(other).get(file_of(package))) == (
            404,
            [("update_not_found", None)],
        )
        assert member().get(file_of(package)).status_code == 403
        assert APIClient().get(file_of(package)).status_code == 401

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
    def test_a_part_of_it_may_be_asked_for(
        self, box: APIClient, package: SoftwareUpdate, range_: str, start: int, end: int
    ) -> None:
        answer = box.get(file_of(package), headers={"Range": range_})

        assert answer.status_code == 206
        assert body(answer) == CONTENT[start:end]
        assert answer["Content-Range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"
        assert answer["Content-Length"] == str(end - start)

    @pytest.mark.parametrize(
        "range_", ["bytes=10240-", "bytes=99999-100000", "bytes=-0"]
    )
    def test_a_range_beyond_the_end_is_told_where_that_is(
        self, box: APIClient, package: SoftwareUpdate, range_: str
    ) -> None:
        answer = box.get(file_of(package), headers={"Range": range_})

        assert errors(answer) == (416, [("range_not_satisfiable", None)])
        assert answer["Content-Range"] == f"bytes */{len(CONTENT)}"

    @pytest.mark.parametrize(
        "range_", ["bytes=5-2", "bytes=-", "lines=0-9", "bytes=0-1,5-6", "bytes=x-"]
    )
    def test_what_is_no_range_of_ours_gets_everything(
        self, box: APIClient, package: SoftwareUpdate, range_: str
    ) -> None:
        answer = box.get(file_of(package), headers={"Range": range_})

        assert (answer.status_code, body(answer)) == (200, CONTENT)

    def test_a_part_of_another_file_is_not_gone_on_with(
        self, box: APIClient, package: SoftwareUpdate
    ) -> None:
        part = {"Range": "bytes=100-"}
        same = box.get(
            file_of(package), headers={**part, "If-Range": f'"{package.sha256}"'}
        )
        other = box.get(file_of(package), headers={**part, "If-Range": '"other"'})

        assert (same.status_code, body(same)) == (206, CONTENT[100:])
        assert (other.status_code, body(other)) == (200, CONTENT)

    def test_it_may_be_gone_on_with_at_any_byte(
        self, box: APIClient, package: SoftwareUpdate
    ) -> None:
        got = b""
        while len(got) < len(CONTENT):
            answer = box.get(file_of(package), headers={"Range": f"bytes={len(got)}-"})
            got += body(answer)[:1537]  # then the connection breaks

        assert got == CONTENT

    @override_settings(PACKAGES_ACCEL="/packages")
    def test_in_production_the_proxy_hands_it_out(
        self, box: APIClient, package: SoftwareUpdate
    ) -> None:
        answer = box.get(file_of(package))

        assert answer["X-Accel-Redirect"] == f"/packages/{package.stored_name}"
        assert answer.content == b""

    def test_a_file_that_a_restored_back_up_has_not_is_told_apart(
        self, box: APIClient, package: SoftwareUpdate, package_files: Path
    ) -> None:
        (package_files / package.stored_name).unlink()
        box.raise_request_exception = False  # it is an answer

        answer = box.get(file_of(package))

        assert errors(answer) == (503, [("package_file_missing", None)])

    def test_so_many_devices_download_at_a_time(
        self,
        box: APIClient,
        devices: list[Device],
        package: SoftwareUpdate,
        rollout: Deployment,
        as_device: Calling,
        clock: datetime,
    ) -> None:
        policies.change(concurrent_downloads=1, now=clock)
        other = as_device(devices[1])
        assert box.get(file_of(package)).status_code == 200

        waits = other.get(file_of(package))
        assert errors(waits) == (429, [("downloads_busy", None)])
        assert int(waits["Retry-After"]) > 0
        assert mine(devices[1]).status == "pending"
        assert box.get(file_of(package)).status_code == 200  # it has its place

        feedback(box, rollout, "installing")
        assert other.get(file_of(package)).status_code == 200

    def test_a_place_is_free_again_when_nothing_was_heard_for_a_while(
        self,
        box: APIClient,
        devices: list[Device],
        package: SoftwareUpdate,
        as_device: Calling,
        clock: datetime,
    ) -> None:
        policies.change(concurrent_downloads=1, now=clock)
        box.get(file_of(package))
        key = f"{settings.KEY_PREFIX}downloads:{devices[0].tenant_id}"
        with Redis.from_url(settings.REDIS_URL) as redis:
            redis.zadd(key, {str(devices[0].pk): 1})  # its time was over in 1970

        assert as_device(devices[1]).get(file_of(package)).status_code == 200

    @override_settings(REDIS_URL="redis://127.0.0.1:1/0")
    def test_without_redis_an_update_is_not_held_up(
        self, box: APIClient, package: SoftwareUpdate
    ) -> None:
        assert box.get(file_of(package)).status_code == 200


class TestFeedback:
    def test_a_device_says_how_far_it_is(
        self, box: APIClient, devices: list[Device], rollout: Deployment
    ) -> None:
        assert feedback(box, rollout, "downloading", progress=40).status_code == 204

        row = mine(devices[0])
        assert (row.status, row.progress, row.from_version) == (
            "downloading",
            40,
            "1.0.0",
        )

    def test_a_late_word_undoes_nothing(
        self, box: APIClient, devices: list[Device], rollout: Deployment
    ) -> None:
        words = [
            ("downloading", 80),
            ("downloading", 40),
            ("installing", 10),
            ("downloading", 99),
            ("installed", 0),
            ("installing", 50),
        ]

        answers = [feedback(box, rollout, word, progress=n) for word, n in words]

        row = mine(devices[0])
        assert {answer.status_code for answer in answers} == {204}
        assert (row.status, row.progress) == ("installing", 100)

    def test_a_late_downloading_never_undoes_completed(
        self,
        box: APIClient,
        devices: list[Device],
        rollout: Deployment,
        clock: datetime,
    ) -> None:
        updates(rollout, devices[0].pk, clock)
        tick(clock + timedelta(minutes=1))

        late = feedback(box, rollout, "downloading", progress=10)
        failed = feedback(box, rollout, "failed")

        assert late.status_code == 204
        assert errors(failed) == (410, [("update_over", None)])
        assert mine(devices[0]).status == "completed"

    def test_a_failure_says_why_and_is_said_once(
        self, box: APIClient, devices: list[Device], rollout: Deployment
    ) -> None:
        said = {"error_code": "no_space", "error": "The disk is full."}

        first = feedback(box, rollout, "failed", **said)
        again = feedback(box, rollout, "failed", **said)

        row = mine(devices[0])
        assert (first.status_code, again.status_code) == (204, 204)
        assert (row.status, row.error_code, row.error) == (
            "failed",
            "no_space",
            "The disk is full.",
        )
        assert box.get(MINE).status_code == 204

    def test_feedback_on_a_closed_rollout_comes_too_late(
        self, box: APIClient, rollout: Deployment, clock: datetime
    ) -> None:
        rollout_control.abort(deployment=rollout, now=clock)

        before_it_is_noted = feedback(box, rollout, "downloading", progress=1)
        tick(clock)
        after = feedback(box, rollout, "failed")

        for answer in (before_it_is_noted, after):
            assert errors(answer) == (410, [("update_over", None)])
            assert answer.json()["current"] == {"status": "cancelled"}

    def test_what_was_said_of_an_attempt_before_comes_too_late(
        self,
        box: APIClient,
        devices: list[Device],
        rollout: Deployment,
        clock: datetime,
    ) -> None:
        fails(rollout, devices[0].pk, clock)
        rollout_control.retry(deployment=rollout, now=clock)
        tick(clock)

        late = feedback(box, rollout, "downloading", progress=50)
        current = feedback(box, rollout, "downloading", progress=5, attempt=2)
        unheard = feedback(box, rollout, "downloading", attempt=9)

        assert errors(late) == (410, [("update_over", None)])
        assert current.status_code == 204
        assert errors(unheard) == (400, [("invalid_feedback", "attempt")])
        assert mine(devices[0]).progress == 5

    def test_a_device_that_is_not_in_the_rollout_is_told_so(
        self, acting: Tenant, rollout: Deployment, as_device: Calling
    ) -> None:
        (other,) = fleet(acting, 1)

        answer = feedback(as_device(other), rollout, "downloading")

        assert errors(answer) == (404, [("update_not_found", None)])

    @pytest.mark.parametrize(
        ("said", "field"),
        [
            ({"status": "done"}, "status"),
            ({"progress": 101}, "progress"),
            ({"attempt": 0}, "attempt"),
            ({"error_code": "No Space!"}, "error_code"),
            ({"speed": 3}, "speed"),
        ],
    )
    def test_what_cannot_be_is_refused(
        self, box: APIClient, rollout: Deployment, said: dict[str, Any], field: str
    ) -> None:
        answer = box.post(
            f"/devices/me/updates/{rollout.pk}/feedback",
            {"attempt": 1, "status": "downloading", **said},
        )

        assert answer.status_code == 400
        assert [each[1] for each in errors(answer)[1]] == [field]


def test_the_push_channels_answer_says_whether_an_update_waits(
    box: APIClient, devices: list[Device], as_device: Calling
) -> None:
    told = box.get("/devices/me/commands/stream").json()

    assert told == {"sequence": 0, "update_waiting": True}


def test_no_device_sees_another_tenants_rollout(
    rollout: Deployment, as_device: Calling, db: None
) -> None:
    other = TenantFactory.create()
    with tenant_scope(other.pk):
        (stranger,) = fleet(other, 1)

    answer = feedback(as_device(stranger), rollout, "downloading")

    assert answer.status_code == 404
