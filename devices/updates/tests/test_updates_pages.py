"""Tests of the portal pages of software updates: forms, actions and errors."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from devices.updates.models import Deployment, SoftwareProduct, SoftwareUpdate
from devices.updates.services import rollouts
from devices.updates.services.targets import WaveSize
from devices.updates.tests.rollouts import (
    create_devices,
    create_draft,
    create_member,
    create_product,
    create_released_package,
    devices_in,
    install_update,
    report_failure,
    run_due_steps,
    start_rollout,
)
from tenants.models import Role, Tenant, User

pytestmark = pytest.mark.django_db
ROLLOUTS = "/admin/updates/deployment/"
PACKAGES = "/admin/updates/softwareupdate/"
SETTINGS = {
    "waves": "2, 50 %, 100 %",
    "soak_minutes": "10",
    "deadline_minutes": "60",
    "success_percent": "90",
    "failure_percent": "3",
}


@pytest.fixture
def moment() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def package(acting: Tenant, moment: datetime, tmp_path: Path) -> SoftwareUpdate:
    return create_released_package(moment, tmp_path / "in")


@pytest.fixture
def admin(acting: Tenant) -> User:
    return create_member(acting)


@pytest.fixture
def portal(admin: User) -> Client:
    client = Client()
    client.force_login(admin)
    return client


def html(response: Any) -> str:
    return str(response.content.decode())


def test_a_rollout_is_previewed_before_it_is_created(
    acting: Tenant, portal: Client, package: SoftwareUpdate
) -> None:
    create_devices(acting, 4)
    form = {**SETTINGS, "package": str(package.pk), "name": "Ours"}

    preview = portal.post(f"{ROLLOUTS}add/", form)
    assert "4 devices" in html(preview)
    assert not Deployment.objects.exists()

    created = portal.post(f"{ROLLOUTS}add/", {**form, "eligible": "4", "draft": "1"})
    rollout = Deployment.objects.get()
    assert created.status_code == 302
    assert (rollout.name, rollout.state, rollout.waves.count()) == ("Ours", "draft", 3)


def test_a_changed_number_of_devices_is_previewed_again(
    acting: Tenant, portal: Client, package: SoftwareUpdate
) -> None:
    create_devices(acting, 4)
    form = {**SETTINGS, "package": str(package.pk), "eligible": "3", "start": "1"}

    assert "4 devices" in html(portal.post(f"{ROLLOUTS}add/", form))
    assert not Deployment.objects.exists()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"waves": "ten"}, "sizes, separated by commas."),
        ({"waves": "1.5"}, "A number of devices must be a whole number."),
        ({"waves": "99999999999"}, "at most 10,000,000"),
        ({"waves": "50 %, 20 %"}, "must be larger than the wave before"),
        ({"success_percent": "99"}, "threshold can be at most"),
        ({"window_from": "02:00"}, "A maintenance window needs days, a start and an end."),
        ({"device": "nobody"}, "Enter a valid UUID."),
        ({"rate": "-1"}, "greater than or equal to 1"),
        ({"failure_percent": "nan"}, "Enter a number."),
    ],
)
def test_invalid_settings_are_shown_at_their_field_and_keep_the_input(
    acting: Tenant, portal: Client, package: SoftwareUpdate, wrong: dict[str, str], sentence: str
) -> None:
    create_devices(acting, 1)
    form = {**SETTINGS, "package": str(package.pk), "name": "Typed name", **wrong}

    response = portal.post(f"{ROLLOUTS}add/", form)

    assert response.status_code == 200
    assert sentence in html(response)
    assert "Typed name" in html(response)
    assert not Deployment.objects.exists()


def test_settings_that_the_form_cannot_show_are_kept(
    acting: Tenant, portal: Client, package: SoftwareUpdate, admin: User, moment: datetime
) -> None:
    create_devices(acting, 9, os_version="11")
    later = datetime(2030, 1, 1, tzinfo=UTC)
    window = {"days": ["monday"], "from": "01:00", "until": "02:00"}
    settings = {
        "filter": {"os_version": "11"},
        "windows": [window, {**window, "days": ["friday"]}],
        "waves": [WaveSize(percent=100 / 3), WaveSize(percent=100.0, starts_at=later)],
    }
    rollout = rollouts.create(package=package, values=settings, by=admin, now=moment)
    page = portal.get(f"{ROLLOUTS}{rollout.pk}/terms/")
    initial = page.context["form"].initial

    form = {name: value for name, value in initial.items() if value not in (None, "")}
    portal.post(
        f"{ROLLOUTS}{rollout.pk}/terms/",
        {**form, "package": str(package.pk), "name": "Renamed", "soak_minutes": "5"},
    )

    rollout.refresh_from_db()
    assert (rollout.name, rollout.soak_minutes) == ("Renamed", 5)
    assert rollout.filter == {"os_version": "11"}
    assert len(rollout.windows) == 2
    assert [wave.starts_at for wave in rollout.waves.all()] == [None, later]


def test_the_settings_of_a_running_rollout_can_be_changed(
    acting: Tenant, portal: Client, package: SoftwareUpdate, admin: User, moment: datetime
) -> None:
    create_devices(acting, 20)
    rollout = start_rollout(
        package, admin, moment, waves=[WaveSize(percent=10.0), WaveSize(percent=100.0)]
    )
    run_due_steps(moment)
    form = {**SETTINGS, "waves": "20 %, 100 %", "soak_minutes": "0"}

    portal.post(f"{ROLLOUTS}{rollout.pk}/terms/", {**form, "name": rollout.name})
    smaller = portal.post(f"{ROLLOUTS}{rollout.pk}/terms/", {**form, "waves": "5 %, 100 %"})

    assert [wave.percent for wave in rollout.waves.all()] == [20.0, 100.0]
    assert "can only be made larger" in html(smaller)


def test_the_page_of_a_rollout_shows_progress_and_failures(
    acting: Tenant, portal: Client, package: SoftwareUpdate, admin: User, moment: datetime
) -> None:
    create_devices(acting, 10)
    rollout = start_rollout(package, admin, moment)
    run_due_steps(moment)
    first, *others = sorted(devices_in(rollout))
    report_failure(rollout, first, moment)
    for device_id in others[:4]:
        install_update(rollout, device_id, moment)
    run_due_steps(datetime.now(UTC))
    Deployment.objects.update(due_at=moment)
    run_due_steps(datetime.now(UTC))

    page = html(portal.get(f"{ROLLOUTS}{rollout.pk}/change/"))

    for text in ("4 of 10 devices updated", "no_space", "The disk is full.", "Pause"):
        assert text in page


@pytest.mark.parametrize(
    ("verb", "state"), [("pause", "paused"), ("abort", "aborted"), ("start", "running")]
)
def test_buttons_run_the_action_or_show_the_error(
    acting: Tenant,
    portal: Client,
    package: SoftwareUpdate,
    admin: User,
    moment: datetime,
    verb: str,
    state: str,
) -> None:
    create_devices(acting, 1)
    rollout = start_rollout(package, admin, moment)

    response = portal.post(
        f"{ROLLOUTS}{rollout.pk}/act/", {"verb": verb, "reason": "a\x00b"}, follow=True
    )

    rollout.refresh_from_db()
    assert response.status_code == 200
    assert rollout.state == state
    if verb == "start":
        assert "The rollout is running." in html(response)


def test_an_unknown_action_gets_404(
    acting: Tenant, portal: Client, package: SoftwareUpdate, admin: User, moment: datetime
) -> None:
    create_devices(acting, 1)
    rollout = start_rollout(package, admin, moment)

    assert portal.post(f"{ROLLOUTS}{rollout.pk}/act/", {"verb": "explode"}).status_code == 404
    assert portal.post(f"{PACKAGES}{package.pk}/act/", {}).status_code == 404
    package.refresh_from_db()
    assert package.state == "released"


def test_withdrawing_a_package_needs_a_reason(portal: Client, package: SoftwareUpdate) -> None:
    path = f"{PACKAGES}{package.pk}/act/"

    without_reason = portal.post(path, {"withdraw": "1"}, follow=True)
    assert "Enter the reason for the withdrawal." in html(without_reason)
    portal.post(path, {"withdraw": "1", "reason": "It crashes."})

    package.refresh_from_db()
    assert (package.state, package.withdrawn_because) == ("withdrawn", "It crashes.")


def test_a_draft_is_created_and_deleted(acting: Tenant, portal: Client, moment: datetime) -> None:
    product = create_product(moment)
    form = {"product": str(product.pk), "version": "3.0", "platform": "android"}

    portal.post(f"{PACKAGES}add/", {**form, "target_models": "X96, H96"})
    package = SoftwareUpdate.objects.get()
    assert package.target_models == ["X96", "H96"]
    again = portal.post(f"{PACKAGES}add/", form)
    assert "Version 3.0 already exists." in html(again)

    portal.post(f"{PACKAGES}{package.pk}/delete/", {"post": "yes"})
    assert not SoftwareUpdate.objects.exists()


def test_a_product_with_packages_cannot_be_deleted_in_the_portal(
    acting: Tenant, portal: Client, moment: datetime
) -> None:
    product = create_draft(moment).product
    path = f"/admin/updates/softwareproduct/{product.pk}/delete/"

    response = portal.post(path, {"post": "yes"}, follow=True)

    assert "protected" in html(response)
    assert "deleted successfully" not in html(response)
    assert SoftwareProduct.objects.exists()


def test_a_viewer_has_no_buttons(
    acting: Tenant, package: SoftwareUpdate, admin: User, moment: datetime
) -> None:
    create_devices(acting, 1)
    rollout = start_rollout(package, admin, moment)
    viewer = Client()
    viewer.force_login(create_member(acting, Role.VIEWER))

    page = html(viewer.get(f"{ROLLOUTS}{rollout.pk}/change/"))
    rejected = viewer.post(f"{ROLLOUTS}{rollout.pk}/act/", {"verb": "abort"})

    assert "rollout-actions" not in page
    assert rejected.status_code == 403


def test_a_superuser_sees_the_tenant_of_a_package(acting: Tenant, package: SoftwareUpdate) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.com"))

    page = html(client.get(f"{ROLLOUTS}add/?package={package.pk}"))

    assert f"player 2.0.0 ({acting.name})" in page


def test_the_page_of_a_device_shows_its_updates(
    acting: Tenant, portal: Client, package: SoftwareUpdate, admin: User, moment: datetime
) -> None:
    (device,) = create_devices(acting, 1)
    rollout = start_rollout(package, admin, moment)
    run_due_steps(moment)
    report_failure(rollout, device.pk, moment)

    page = html(portal.get(f"/admin/devices/device/{device.pk}/change/?tab=updates"))

    assert "Software updates" in page
    assert "The disk is full." in page


def test_the_selected_devices_of_the_list_get_a_rollout(
    acting: Tenant, portal: Client, package: SoftwareUpdate
) -> None:
    chosen, _ = create_devices(acting, 2)
    devices = "/admin/devices/device/"

    response = portal.post(devices, {"action": "roll_out", "_selected_action": [str(chosen.pk)]})

    assert response["Location"].endswith(f"{ROLLOUTS}add/")
    page = html(portal.get(f"{ROLLOUTS}add/"))
    assert "1 selected device" in page
    assert "Only devices with this tag" not in page
    selection = f'{{"devices": "{chosen.pk}"}}'
    form = {**SETTINGS, "package": str(package.pk), "selection": selection}
    assert "1 device," in html(portal.post(f"{ROLLOUTS}add/", form))
    portal.post(f"{ROLLOUTS}add/", {**form, "eligible": "1", "draft": "1"})
    assert Deployment.objects.get().filter == {"devices": str(chosen.pk)}
