"""The pages of configurations, as the server makes them."""

from datetime import datetime
from typing import Any

import pytest
from django.test import Client

from devices.configurations.documents import version_of
from devices.configurations.models import DeviceConfiguration, PlatformConfiguration
from devices.configurations.services import layers
from devices.configurations.services.reports import report
from devices.configurations.tests.documents import (
    for_device,
    for_tag,
    for_tenant,
    wear,
    work_all,
)
from devices.registry.models import Device, Tag
from devices.registry.tests.factories import DeviceFactory, TagFactory
from tenants.context import tenant_scope
from tenants.models import Role, Tenant, User
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db
PAGES = "/admin/configurations/deviceconfiguration/"


def entered(tenant: Tenant, role: Role = Role.OPERATOR) -> Client:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=role).user)
    return client


@pytest.fixture
def operator(tenant: Tenant) -> Client:
    return entered(tenant)


@pytest.fixture
def superuser() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.com", "x"))
    return client


@pytest.fixture
def tag(tenant: Tenant) -> Tag:
    made: Tag = TagFactory.create(tenant=tenant, name="lobby")
    return made


def text(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


def test_the_list_shows_the_layers_in_their_order(
    operator: Client, tenant: Tenant, tag: Tag, now: datetime
) -> None:
    TagFactory.create(tenant=tenant, name="terrace")
    for_tenant(tenant, {"volume": 1}, now=now)
    for_tag(tag, {"brightness": 1}, now=now)
    said = text(operator.get(PAGES))
    assert said.index("Platform") < said.index("All devices") < said.index("Tag lobby")
    assert f"{PAGES}edit/tag/{tag.pk}/" in said
    assert "terrace" in said


def test_a_rows_page_is_its_editor(
    operator: Client, tenant: Tenant, now: datetime
) -> None:
    layer = for_tenant(tenant, {"volume": 1}, now=now)
    answer = operator.get(f"{PAGES}{layer.pk}/change/")
    assert answer["Location"] == f"{PAGES}edit/tenant/{tenant.pk}/"


@pytest.mark.parametrize(
    "document", ["", "{", "[]", "null", '{"volume": 500}', "[" * 9999]
)
def test_what_cannot_be_saved_comes_back(
    operator: Client, tenant: Tenant, document: str
) -> None:
    said = {"document": document, "note": "mine", "based_on": "0"}
    answer = operator.post(f"{PAGES}edit/tenant/{tenant.pk}/", said)
    assert answer.status_code == 400
    assert "This cannot be saved" in text(answer)
    assert 'value="mine"' in text(answer)
    assert not DeviceConfiguration.every_tenant.exists()


def test_a_fault_does_not_hide_that_somebody_else_has_saved(
    operator: Client, tenant: Tenant, now: datetime
) -> None:
    for volume in (1, 2):
        for_tenant(tenant, {"volume": volume}, now=now)
    page = f"{PAGES}edit/tenant/{tenant.pk}/"
    answer = operator.post(page, {"document": '{"volume": 999}', "based_on": "1"})
    assert 'name="based_on" value="1"' in text(answer)
    for _ in range(2):  # to press the button again is not to have looked
        answer = operator.post(page, {"document": '{"volume": 9}', "based_on": "1"})
        assert answer.status_code == 409
        assert "Not saved: version 2 is there now" in text(answer)
        assert 'name="based_on" value="1"' in text(answer)
    assert DeviceConfiguration.every_tenant.get().document == {"volume": 2}
    over = {"document": '{"volume": 9}', "based_on": "1", "over": "2"}
    operator.post(page, over)
    assert DeviceConfiguration.every_tenant.get().document == {"volume": 9}


def test_half_of_a_character_is_told_of(operator: Client, tenant: Tenant) -> None:
    document = '{"extra": {"\\ud800": 1e99}}'
    for where in ("", "preview/"):
        answer = operator.post(
            f"{PAGES}edit/tenant/{tenant.pk}/{where}", {"document": document}
        )
        assert "This cannot be saved" in text(answer)


@pytest.mark.parametrize("name", ["launch", "resolution", "schedule", "orientation"])
def test_a_key_of_ones_own_may_be_called_like_a_known_one(
    operator: Client, tenant: Tenant, tag: Tag, now: datetime, name: str
) -> None:
    for_tenant(tenant, {"extra": {name: "kiosk"}}, now=now)
    answer = operator.get(f"{PAGES}edit/tag/{tag.pk}/")
    assert "kiosk" in text(answer)


def test_a_save_that_changes_nothing_says_so(
    operator: Client, tenant: Tenant, now: datetime
) -> None:
    for_tenant(tenant, {"volume": 1}, now=now)
    said = {"document": '{"volume": 1}', "based_on": "1"}
    answer = operator.post(f"{PAGES}edit/tenant/{tenant.pk}/", said, follow=True)
    assert "Nothing was changed." in text(answer)


@pytest.mark.parametrize("what", ["edit", "restore", "order"])
def test_a_viewer_changes_nothing(
    tenant: Tenant, tag: Tag, now: datetime, what: str
) -> None:
    for_tag(tag, {"volume": 1}, now=now)
    for_tag(tag, {"volume": 2}, now=now)
    viewer = entered(tenant, Role.VIEWER)
    where = {
        "edit": f"edit/tag/{tag.pk}/",
        "restore": f"edit/tag/{tag.pk}/versions/1/",
        "order": f"order/{tenant.pk}/",
    }[what]
    said = {"document": "{}", "tag": "lobby", "step": "1"}
    assert viewer.post(f"{PAGES}{where}", said).status_code == 403
    assert DeviceConfiguration.every_tenant.get().number == 2


@pytest.mark.parametrize("suffix", ["", "preview/", "versions/1/"])
def test_a_strangers_layer_is_not_there(
    tag: Tag, device: Device, tenant: Tenant, now: datetime, suffix: str
) -> None:
    for_tag(tag, {"volume": 1}, now=now)
    stranger = entered(TenantFactory.create(), Role.OWNER)
    subjects = (("tag", tag.pk), ("device", device.pk), ("tenant", tenant.pk))
    for scope, subject in (*subjects, ("platform", "all"), ("tag", "x"), ("moon", 1)):
        for ask in (stranger.get, stranger.post):
            answer = ask(f"{PAGES}edit/{scope}/{subject}/{suffix}")
            assert answer.status_code in {404, 405}, (scope, suffix)


def test_a_version_that_never_was_is_not_there(
    operator: Client, tag: Tag, now: datetime
) -> None:
    for_tag(tag, {"volume": 1}, now=now)
    where = f"{PAGES}edit/tag/{tag.pk}/versions/"
    assert operator.get(f"{where}7/").status_code == 404
    assert operator.get(f"{where}1/?against=9").status_code == 404


def test_the_superuser_edits_the_platforms_layer(
    superuser: Client, device: Device
) -> None:
    where = f"{PAGES}edit/platform/all/"
    preview = superuser.post(f"{where}preview/", {"document": '{"volume": 5}'})
    assert "1 of 1 device changes, Volume on 1" in text(preview).replace(":", ",")
    said = {"document": '{"volume": 5}', "based_on": "0"}
    answer = superuser.post(where, said, follow=True)
    assert "Saved as version 1." in text(answer)
    assert PlatformConfiguration.objects.get().document == {"volume": 5}


def test_the_superuser_chooses_whose_layers_are_shown(
    superuser: Client, tenant: Tenant
) -> None:
    TenantFactory.create()
    said = text(superuser.get(PAGES))
    assert f"?tenant__id__exact={tenant.pk}" in said
    said = text(superuser.get(f"{PAGES}?tenant__id__exact={tenant.pk}"))
    assert f"{PAGES}edit/tenant/{tenant.pk}/" in said


def test_a_changed_order_says_how_many_devices_it_concerns(
    operator: Client, tenant: Tenant, tag: Tag, device: Device, now: datetime
) -> None:
    other = TagFactory.create(tenant=tenant, name="bar")
    for one in (tag, other):
        wear(device, one)
        for_tag(one, {"volume": 1}, now=now)
    said = {"tag": "lobby", "step": "1"}
    answer = operator.post(f"{PAGES}order/{tenant.pk}/", said, follow=True)
    assert "lobby is stronger than bar now; that concerns 1 device" in text(answer)


def test_the_superuser_edits_a_tenants_layer_in_its_name(
    superuser: Client, tenant: Tenant
) -> None:
    TenantFactory.create()
    said = {"document": '{"volume": 5}', "based_on": "0"}
    superuser.post(f"{PAGES}edit/tenant/{tenant.pk}/", said)
    assert DeviceConfiguration.every_tenant.get().tenant == tenant
    assert "All devices" in text(
        superuser.get(f"{PAGES}?tenant__id__exact={tenant.pk}")
    )


def test_a_devices_page_shows_desired_against_reported(
    operator: Client, device: Device, tag: Tag, now: datetime
) -> None:
    wear(device, tag)
    for_tenant(device.tenant, {"volume": 1, "locale": "de"}, now=now)
    work_all(now)
    with tenant_scope(device.tenant_id):
        version = version_of({"volume": 1, "locale": "de"})
        report(device=device, version=version, outcome="applied", now=now)
    page = f"/admin/devices/device/{device.pk}/change/"
    assert "applied</span>, reported" in text(operator.get(page))
    for_tag(tag, {"volume": 2}, now=now)
    assert "being worked out" in text(operator.get(page))
    work_all(now)
    said = text(operator.get(page))
    assert "drifted</span> since" in said
    assert '<span class="portal-mark bad">1</span>' in said  # it has 1 and should be 2


def test_a_devices_page_says_why_it_could_not(
    operator: Client, device: Device, now: datetime
) -> None:
    for_device(device, {"volume": 1}, now=now)
    with tenant_scope(device.tenant_id):
        report(
            device=device,
            version=version_of({"volume": 1}),
            outcome="failed",
            reason="No mixer.",
            now=now,
        )
    said = text(operator.get(f"/admin/devices/device/{device.pk}/change/"))
    assert "It could not be applied: No mixer." in said


def test_a_schedule_is_read_by_the_clock_on_the_devices_wall(
    operator: Client, device: Device, now: datetime
) -> None:
    schedule = [{"days": ["monday"], "on": "00:00", "off": "00:00"}]
    for_device(device, {"schedule": schedule, "time_zone": "Asia/Tokyo"}, now=now)
    said = text(operator.get(f"/admin/devices/device/{device.pk}/change/"))
    assert "By its schedule the screen is" in said
    assert "Monday 00:00" in said or "Tuesday 00:00" in said


def test_drifted_devices_are_found_in_the_list(
    operator: Client, device: Device, now: datetime
) -> None:
    DeviceFactory.create(tenant=device.tenant, name="In line")
    for_device(device, {"volume": 1}, now=now)
    said = text(operator.get("/admin/devices/device/?configuration=drifted"))
    assert (device.name in said, "In line" in said) == (True, False)
    said = text(operator.get("/admin/devices/device/?configuration=applied"))
    assert (device.name in said, "In line" in said) == (False, True)


def test_what_is_wrong_with_an_old_version_does_not_break_its_page(
    operator: Client, tenant: Tenant, now: datetime
) -> None:
    layer = for_tenant(tenant, {"volume": 1}, now=now)
    with tenant_scope(tenant.pk):
        layer.versions.create(
            number=2, document={"gone": 1}, author_name="x", saved_at=now
        )
    answer = operator.get(f"{PAGES}edit/tenant/{tenant.pk}/versions/2/")
    assert answer.status_code == 200
    assert "Restore version" not in text(answer)


def test_the_editor_says_that_devices_are_being_worked_out(
    operator: Client, tenant: Tenant, now: datetime
) -> None:
    for_tenant(tenant, {"volume": 1}, now=now)
    page = f"{PAGES}edit/tenant/{tenant.pk}/"
    assert "is being worked out" in text(operator.get(page))
    work_all(now)
    assert "is being worked out" not in text(operator.get(page))


def test_a_layer_of_a_retired_device_cannot_be_saved(
    operator: Client, tenant: Tenant, now: datetime
) -> None:
    device = DeviceFactory.create(tenant=tenant, status="retired", retired_at=now)
    page = f"{PAGES}edit/device/{device.pk}/"
    assert operator.get(page).status_code == 200
    answer = operator.post(page, {"document": '{"volume": 1}', "based_on": "0"})
    assert "The device is retired." in text(answer)


def test_a_restored_platform_version_reaches_everybody(
    superuser: Client, now: datetime
) -> None:
    for volume in (1, 2):
        layers.save_platform(document={"volume": volume}, now=now)
    page = f"{PAGES}edit/platform/all/versions/1/"
    answer = superuser.post(page, {"based_on": "2"}, follow=True)
    assert "Version 1 is back, as version 3." in text(answer)
