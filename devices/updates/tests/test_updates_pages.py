"""Software updates in the portal, without a browser: forms, buttons, what they refuse."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from devices.updates.models import Deployment, SoftwareProduct, SoftwareUpdate
from devices.updates.services import rollouts
from devices.updates.services.targets import Size
from devices.updates.tests.rollouts import (
    draft,
    fails,
    fleet,
    given,
    person,
    product,
    released,
    started,
    tick,
    updates,
)
from tenants.models import Role, Tenant, User

pytestmark = pytest.mark.django_db
ROLLOUTS = "/admin/updates/deployment/"
PACKAGES = "/admin/updates/softwareupdate/"
TERMS = {
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
    return released(moment, tmp_path / "in")


@pytest.fixture
def by(acting: Tenant) -> User:
    return person(acting)


@pytest.fixture
def portal(by: User) -> Client:
    client = Client()
    client.force_login(by)
    return client


def said(answer: Any) -> str:
    return str(answer.content.decode())


def test_a_rollout_is_looked_at_before_it_is_made(
    acting: Tenant, portal: Client, package: SoftwareUpdate
) -> None:
    fleet(acting, 4)
    form = {**TERMS, "package": str(package.pk), "name": "Ours"}

    looked = portal.post(f"{ROLLOUTS}add/", form)
    assert "4 devices" in said(looked)
    assert not Deployment.objects.exists()

    made = portal.post(f"{ROLLOUTS}add/", {**form, "eligible": "4", "draft": "1"})
    row = Deployment.objects.get()
    assert made.status_code == 302
    assert (row.name, row.state, row.waves.count()) == ("Ours", "draft", 3)


def test_when_it_would_be_for_others_by_now_it_is_looked_at_again(
    acting: Tenant, portal: Client, package: SoftwareUpdate
) -> None:
    fleet(acting, 4)
    form = {**TERMS, "package": str(package.pk), "eligible": "3", "start": "1"}

    assert "4 devices" in said(portal.post(f"{ROLLOUTS}add/", form))
    assert not Deployment.objects.exists()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"waves": "ten"}, "Such as 10, 25 %, 100 %."),
        ({"waves": "1.5"}, "A number of devices has no fraction."),
        ({"waves": "99999999999"}, "at most 10,000,000"),
        ({"waves": "50 %, 20 %"}, "sizes are added up"),
        ({"success_percent": "99"}, "can be asked to succeed"),
        ({"window_from": "02:00"}, "A window has days, a beginning and an end."),
        ({"device": "nobody"}, "Enter a valid UUID."),
        ({"rate": "-1"}, "greater than or equal to 1"),
        ({"failure_percent": "nan"}, "Enter a number."),
    ],
)
def test_what_is_no_rollout_is_said_beside_its_field_and_nothing_is_lost(
    acting: Tenant,
    portal: Client,
    package: SoftwareUpdate,
    wrong: dict[str, str],
    sentence: str,
) -> None:
    fleet(acting, 1)
    form = {**TERMS, "package": str(package.pk), "name": "As I typed it", **wrong}

    answer = portal.post(f"{ROLLOUTS}add/", form)

    assert answer.status_code == 200
    assert sentence in said(answer)
    assert "As I typed it" in said(answer)
    assert not Deployment.objects.exists()


def test_terms_that_the_form_cannot_show_stay_as_they_are(
    acting: Tenant,
    portal: Client,
    package: SoftwareUpdate,
    by: User,
    moment: datetime,
) -> None:
    fleet(acting, 9, os_version="11")
    later = datetime(2030, 1, 1, tzinfo=UTC)
    window = {"days": ["monday"], "from": "01:00", "until": "02:00"}
    terms = {
        "filter": {"os_version": "11"},
        "windows": [window, {**window, "days": ["friday"]}],
        "waves": [Size(percent=100 / 3), Size(percent=100.0, starts_at=later)],
    }
    row = rollouts.create(package=package, said=terms, by=by, now=moment)
    page = portal.get(f"{ROLLOUTS}{row.pk}/terms/")
    shown = page.context["form"].initial

    form = {name: value for name, value in shown.items() if value not in (None, "")}
    portal.post(
        f"{ROLLOUTS}{row.pk}/terms/",
        {**form, "package": str(package.pk), "name": "Renamed", "soak_minutes": "5"},
    )

    row.refresh_from_db()
    assert (row.name, row.soak_minutes) == ("Renamed", 5)
    assert row.filter == {"os_version": "11"}
    assert len(row.windows) == 2
    assert [wave.starts_at for wave in row.waves.all()] == [None, later]


def test_the_terms_of_what_goes_on_may_be_changed(
    acting: Tenant,
    portal: Client,
    package: SoftwareUpdate,
    by: User,
    moment: datetime,
) -> None:
    fleet(acting, 20)
    row = started(package, by, moment, waves=[Size(percent=10.0), Size(percent=100.0)])
    tick(moment)
    form = {**TERMS, "waves": "20 %, 100 %", "soak_minutes": "0"}

    portal.post(f"{ROLLOUTS}{row.pk}/terms/", {**form, "name": row.name})
    smaller = portal.post(f"{ROLLOUTS}{row.pk}/terms/", {**form, "waves": "5 %, 100 %"})

    assert [wave.percent for wave in row.waves.all()] == [20.0, 100.0]
    assert "it can be made larger only" in said(smaller)


def test_the_page_shows_how_far_it_is_and_what_failed(
    acting: Tenant, portal: Client, package: SoftwareUpdate, by: User, moment: datetime
) -> None:
    fleet(acting, 10)
    row = started(package, by, moment)
    tick(moment)
    first, *others = sorted(given(row))
    fails(row, first, moment)
    for device_id in others[:4]:
        updates(row, device_id, moment)
    tick(datetime.now(UTC))
    Deployment.objects.update(due_at=moment)
    tick(datetime.now(UTC))

    page = said(portal.get(f"{ROLLOUTS}{row.pk}/change/"))

    for words in (
        "4 of 10 devices are updated",
        "no_space",
        "The disk is full.",
        "Pause",
    ):
        assert words in page


@pytest.mark.parametrize(
    ("verb", "state"), [("pause", "paused"), ("abort", "aborted"), ("start", "running")]
)
def test_buttons_do_what_they_say_or_why_not(
    acting: Tenant,
    portal: Client,
    package: SoftwareUpdate,
    by: User,
    moment: datetime,
    verb: str,
    state: str,
) -> None:
    fleet(acting, 1)
    row = started(package, by, moment)

    answer = portal.post(
        f"{ROLLOUTS}{row.pk}/act/", {"verb": verb, "reason": "a\x00b"}, follow=True
    )

    row.refresh_from_db()
    assert answer.status_code == 200
    assert row.state == state
    if verb == "start":
        assert "The rollout is running." in said(answer)


def test_what_no_button_says_is_nothing(
    acting: Tenant, portal: Client, package: SoftwareUpdate, by: User, moment: datetime
) -> None:
    fleet(acting, 1)
    row = started(package, by, moment)

    assert (
        portal.post(f"{ROLLOUTS}{row.pk}/act/", {"verb": "explode"}).status_code == 404
    )
    assert portal.post(f"{PACKAGES}{package.pk}/act/", {}).status_code == 404
    package.refresh_from_db()
    assert package.state == "released"


def test_a_package_is_withdrawn_for_a_reason(
    portal: Client, package: SoftwareUpdate
) -> None:
    path = f"{PACKAGES}{package.pk}/act/"

    silent = portal.post(path, {"withdraw": "1"}, follow=True)
    assert "Say why it is withdrawn." in said(silent)
    portal.post(path, {"withdraw": "1", "reason": "It crashes."})

    package.refresh_from_db()
    assert (package.state, package.withdrawn_because) == ("withdrawn", "It crashes.")


def test_a_draft_is_made_and_dropped(
    acting: Tenant, portal: Client, moment: datetime
) -> None:
    of = product(moment)
    form = {"product": str(of.pk), "version": "3.0", "platform": "android"}

    portal.post(f"{PACKAGES}add/", {**form, "target_models": "X96, H96"})
    row = SoftwareUpdate.objects.get()
    assert row.target_models == ["X96", "H96"]
    again = portal.post(f"{PACKAGES}add/", form)
    assert "There is version 3.0 already." in said(again)

    portal.post(f"{PACKAGES}{row.pk}/delete/", {"post": "yes"})
    assert not SoftwareUpdate.objects.exists()


def test_a_product_that_has_packages_is_not_dropped(
    acting: Tenant, portal: Client, moment: datetime
) -> None:
    of = draft(moment).product
    path = f"/admin/updates/softwareproduct/{of.pk}/delete/"

    answer = portal.post(path, {"post": "yes"}, follow=True)

    assert "protected" in said(answer)
    assert "deleted successfully" not in said(answer)
    assert SoftwareProduct.objects.exists()


def test_who_looks_on_has_no_buttons(
    acting: Tenant, package: SoftwareUpdate, by: User, moment: datetime
) -> None:
    fleet(acting, 1)
    row = started(package, by, moment)
    viewer = Client()
    viewer.force_login(person(acting, Role.VIEWER))

    page = said(viewer.get(f"{ROLLOUTS}{row.pk}/change/"))
    refused = viewer.post(f"{ROLLOUTS}{row.pk}/act/", {"verb": "abort"})

    assert "rollout-actions" not in page
    assert refused.status_code == 403


def test_a_superuser_sees_whose_package_it_is(
    acting: Tenant, package: SoftwareUpdate
) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.com"))

    page = said(client.get(f"{ROLLOUTS}add/?package={package.pk}"))

    assert f"player 2.0.0 ({acting.name})" in page


def test_the_devices_page_has_its_updates(
    acting: Tenant, portal: Client, package: SoftwareUpdate, by: User, moment: datetime
) -> None:
    (device,) = fleet(acting, 1)
    row = started(package, by, moment)
    tick(moment)
    fails(row, device.pk, moment)

    page = said(portal.get(f"/admin/devices/device/{device.pk}/change/"))

    assert "Software updates" in page
    assert "The disk is full." in page
