"""Configuration pages of the portal."""

from datetime import datetime
from typing import Any

import pytest
from django.test import Client

from devices.configurations.documents import version_of
from devices.configurations.models import DeviceConfiguration, PlatformConfiguration
from devices.configurations.services import layers
from devices.configurations.services.reports import report
from devices.configurations.tests.documents import (
    add_tag,
    process_rounds,
    save_for_device,
    save_for_tag,
    save_for_tenant,
)
from devices.registry.models import Device, Tag
from devices.registry.tests.factories import DeviceFactory, TagFactory
from tenants.context import tenant_scope
from tenants.models import Role, Tenant, User
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db
PAGES = "/admin/configurations/deviceconfiguration/"


def signed_in_client(tenant: Tenant, role: Role = Role.OPERATOR) -> Client:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=role).user)
    return client


@pytest.fixture
def operator(tenant: Tenant) -> Client:
    return signed_in_client(tenant)


@pytest.fixture
def superuser() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.com", "x"))
    return client


@pytest.fixture
def tag(tenant: Tenant) -> Tag:
    tag: Tag = TagFactory.create(tenant=tenant, name="lobby")
    return tag


def text(response: Any) -> str:
    return " ".join(response.content.decode().split())


def test_the_list_shows_the_layers_in_order(
    operator: Client, tenant: Tenant, tag: Tag, now: datetime
) -> None:
    TagFactory.create(tenant=tenant, name="terrace")
    save_for_tenant(tenant, {"volume": 1}, now=now)
    save_for_tag(tag, {"brightness": 1}, now=now)
    content = text(operator.get(PAGES))
    assert content.index("Platform") < content.index("All devices") < content.index("Tag lobby")
    assert f"{PAGES}edit/tag/{tag.pk}/" in content
    assert "terrace" in content


def test_a_row_opens_the_editor_of_its_layer(
    operator: Client, tenant: Tenant, now: datetime
) -> None:
    layer = save_for_tenant(tenant, {"volume": 1}, now=now)
    response = operator.get(f"{PAGES}{layer.pk}/change/")
    assert response["Location"] == f"{PAGES}edit/tenant/{tenant.pk}/"


@pytest.mark.parametrize("document", ["", "{", "[]", "null", '{"volume": 500}', "[" * 9999])
def test_an_invalid_document_is_shown_again_with_its_errors(
    operator: Client, tenant: Tenant, document: str
) -> None:
    data = {"document": document, "note": "mine", "based_on": "0"}
    response = operator.post(f"{PAGES}edit/tenant/{tenant.pk}/", data)
    assert response.status_code == 400
    assert "Errors in the configuration" in text(response)
    assert 'value="mine"' in text(response)
    assert not DeviceConfiguration.every_tenant.exists()


def test_an_invalid_document_does_not_hide_a_concurrent_save(
    operator: Client, tenant: Tenant, now: datetime
) -> None:
    for volume in (1, 2):
        save_for_tenant(tenant, {"volume": volume}, now=now)
    page = f"{PAGES}edit/tenant/{tenant.pk}/"
    response = operator.post(page, {"document": '{"volume": 999}', "based_on": "1"})
    assert 'name="based_on" value="1"' in text(response)
    for _ in range(2):  # a second attempt must not overwrite either
        response = operator.post(page, {"document": '{"volume": 9}', "based_on": "1"})
        assert response.status_code == 409
        assert "Not saved: there is a newer version 2" in text(response)
        assert 'name="based_on" value="1"' in text(response)
    assert DeviceConfiguration.every_tenant.get().document == {"volume": 2}
    data = {"document": '{"volume": 9}', "based_on": "1", "over": "2"}
    operator.post(page, data)
    assert DeviceConfiguration.every_tenant.get().document == {"volume": 9}


def test_an_unpaired_surrogate_is_shown_as_an_error(operator: Client, tenant: Tenant) -> None:
    document = '{"extra": {"\\ud800": 1e99}}'
    for url in ("", "preview/"):
        response = operator.post(f"{PAGES}edit/tenant/{tenant.pk}/{url}", {"document": document})
        assert "Errors in the configuration" in text(response)


@pytest.mark.parametrize("name", ["launch", "resolution", "schedule", "orientation"])
def test_an_extra_key_can_have_the_name_of_a_schema_key(
    operator: Client, tenant: Tenant, tag: Tag, now: datetime, name: str
) -> None:
    save_for_tenant(tenant, {"extra": {name: "kiosk"}}, now=now)
    response = operator.get(f"{PAGES}edit/tag/{tag.pk}/")
    assert "kiosk" in text(response)


def test_a_save_without_changes_shows_a_message(
    operator: Client, tenant: Tenant, now: datetime
) -> None:
    save_for_tenant(tenant, {"volume": 1}, now=now)
    data = {"document": '{"volume": 1}', "based_on": "1"}
    response = operator.post(f"{PAGES}edit/tenant/{tenant.pk}/", data, follow=True)
    assert "Nothing was changed." in text(response)


@pytest.mark.parametrize("action", ["edit", "restore", "order"])
def test_a_viewer_cannot_change_layers(
    tenant: Tenant, tag: Tag, now: datetime, action: str
) -> None:
    save_for_tag(tag, {"volume": 1}, now=now)
    save_for_tag(tag, {"volume": 2}, now=now)
    viewer = signed_in_client(tenant, Role.VIEWER)
    url = {
        "edit": f"edit/tag/{tag.pk}/",
        "restore": f"edit/tag/{tag.pk}/versions/1/",
        "order": f"order/{tenant.pk}/",
    }[action]
    data = {"document": "{}", "tag": "lobby", "step": "1"}
    assert viewer.post(f"{PAGES}{url}", data).status_code == 403
    assert DeviceConfiguration.every_tenant.get().number == 2


@pytest.mark.parametrize("suffix", ["", "preview/", "versions/1/"])
def test_layers_of_another_tenant_are_not_found(
    tag: Tag, device: Device, tenant: Tenant, now: datetime, suffix: str
) -> None:
    save_for_tag(tag, {"volume": 1}, now=now)
    other_client = signed_in_client(TenantFactory.create(), Role.OWNER)
    subjects = (("tag", tag.pk), ("device", device.pk), ("tenant", tenant.pk))
    for scope, subject in (*subjects, ("platform", "all"), ("tag", "x"), ("moon", 1)):
        for request in (other_client.get, other_client.post):
            response = request(f"{PAGES}edit/{scope}/{subject}/{suffix}")
            assert response.status_code in {404, 405}, (scope, suffix)


def test_an_unknown_version_is_not_found(operator: Client, tag: Tag, now: datetime) -> None:
    save_for_tag(tag, {"volume": 1}, now=now)
    url = f"{PAGES}edit/tag/{tag.pk}/versions/"
    assert operator.get(f"{url}7/").status_code == 404
    assert operator.get(f"{url}1/?against=9").status_code == 404


def test_a_superuser_can_edit_the_platforms_layer(superuser: Client, device: Device) -> None:
    url = f"{PAGES}edit/platform/all/"
    preview = superuser.post(f"{url}preview/", {"document": '{"volume": 5}'})
    assert "1 of 1 device would change: Volume on 1" in text(preview)
    data = {"document": '{"volume": 5}', "based_on": "0"}
    response = superuser.post(url, data, follow=True)
    assert "Saved as version 1." in text(response)
    assert PlatformConfiguration.objects.get().document == {"volume": 5}


def test_a_superuser_chooses_the_tenant_whose_layers_are_shown(
    superuser: Client, tenant: Tenant
) -> None:
    TenantFactory.create()
    content = text(superuser.get(PAGES))
    assert f"?tenant__id__exact={tenant.pk}" in content
    content = text(superuser.get(f"{PAGES}?tenant__id__exact={tenant.pk}"))
    assert f"{PAGES}edit/tenant/{tenant.pk}/" in content


def test_reordering_tags_shows_how_many_devices_have_both_tags(
    operator: Client, tenant: Tenant, tag: Tag, device: Device, now: datetime
) -> None:
    other = TagFactory.create(tenant=tenant, name="bar")
    for row in (tag, other):
        add_tag(device, row)
        save_for_tag(row, {"volume": 1}, now=now)
    data = {"tag": "lobby", "step": "1"}
    response = operator.post(f"{PAGES}order/{tenant.pk}/", data, follow=True)
    assert "The layer of tag lobby is now stronger than the layer of tag bar. 1 device has" in (
        text(response)
    )


def test_a_superuser_saves_a_layer_in_its_tenant(superuser: Client, tenant: Tenant) -> None:
    TenantFactory.create()
    data = {"document": '{"volume": 5}', "based_on": "0"}
    superuser.post(f"{PAGES}edit/tenant/{tenant.pk}/", data)
    assert DeviceConfiguration.every_tenant.get().tenant == tenant
    assert "All devices" in text(superuser.get(f"{PAGES}?tenant__id__exact={tenant.pk}"))


def test_the_device_page_shows_desired_and_reported_values(
    operator: Client, device: Device, tag: Tag, now: datetime
) -> None:
    add_tag(device, tag)
    save_for_tenant(device.tenant, {"volume": 1, "locale": "de"}, now=now)
    process_rounds(now)
    with tenant_scope(device.tenant_id):
        version = version_of({"volume": 1, "locale": "de"})
        report(device=device, version=version, outcome="applied", now=now)
    page = f"/admin/devices/device/{device.pk}/change/?tab=configuration"
    assert "applied</span>, reported" in text(operator.get(page))
    save_for_tag(tag, {"volume": 2}, now=now)
    assert "being recalculated" in text(operator.get(page))
    process_rounds(now)
    content = text(operator.get(page))
    assert "drifted</span> since" in content
    assert '<span class="portal-mark bad">1</span>' in content  # reported 1, desired 2


def test_the_device_page_shows_the_reason_of_a_failure(
    operator: Client, device: Device, now: datetime
) -> None:
    save_for_device(device, {"volume": 1}, now=now)
    with tenant_scope(device.tenant_id):
        report(
            device=device,
            version=version_of({"volume": 1}),
            outcome="failed",
            reason="No mixer.",
            now=now,
        )
    content = text(operator.get(f"/admin/devices/device/{device.pk}/change/?tab=configuration"))
    assert "The device could not apply the configuration: No mixer." in content


def test_the_device_page_shows_the_schedule_in_the_devices_time_zone(
    operator: Client, device: Device, now: datetime
) -> None:
    schedule = [{"days": ["monday"], "on": "00:00", "off": "00:00"}]
    save_for_device(device, {"schedule": schedule, "time_zone": "Asia/Tokyo"}, now=now)
    content = text(operator.get(f"/admin/devices/device/{device.pk}/change/?tab=configuration"))
    assert "According to the schedule, the screen is" in content
    assert "Monday 00:00" in content or "Tuesday 00:00" in content


def test_the_device_list_can_be_filtered_by_drift(
    operator: Client, device: Device, now: datetime
) -> None:
    DeviceFactory.create(tenant=device.tenant, name="Converged")
    save_for_device(device, {"volume": 1}, now=now)
    # A device that has never connected cannot know its configuration.
    assert device.name not in text(operator.get("/admin/devices/device/?configuration=drifted"))
    Device.every_tenant.update(last_seen=now)
    content = text(operator.get("/admin/devices/device/?configuration=drifted"))
    assert (device.name in content, "Converged" in content) == (True, False)
    content = text(operator.get("/admin/devices/device/?configuration=applied"))
    assert (device.name in content, "Converged" in content) == (False, True)


def test_an_invalid_old_version_can_be_viewed_but_not_restored(
    operator: Client, tenant: Tenant, now: datetime
) -> None:
    layer = save_for_tenant(tenant, {"volume": 1}, now=now)
    with tenant_scope(tenant.pk):
        layer.versions.create(number=2, document={"gone": 1}, author_name="x", saved_at=now)
    response = operator.get(f"{PAGES}edit/tenant/{tenant.pk}/versions/2/")
    assert response.status_code == 200
    assert "Restore version" not in text(response)


def test_the_editor_shows_a_running_recalculation(
    operator: Client, tenant: Tenant, now: datetime
) -> None:
    save_for_tenant(tenant, {"volume": 1}, now=now)
    page = f"{PAGES}edit/tenant/{tenant.pk}/"
    assert "are being recalculated" in text(operator.get(page))
    process_rounds(now)
    assert "are being recalculated" not in text(operator.get(page))


def test_a_layer_of_a_retired_device_cannot_be_saved(
    operator: Client, tenant: Tenant, now: datetime
) -> None:
    device = DeviceFactory.create(tenant=tenant, status="retired", retired_at=now)
    page = f"{PAGES}edit/device/{device.pk}/"
    assert operator.get(page).status_code == 200
    response = operator.post(page, {"document": '{"volume": 1}', "based_on": "0"})
    assert "The device is retired." in text(response)


def test_a_version_of_the_platforms_layer_can_be_restored(superuser: Client, now: datetime) -> None:
    for volume in (1, 2):
        layers.save_platform(document={"volume": volume}, now=now)
    page = f"{PAGES}edit/platform/all/versions/1/"
    response = superuser.post(page, {"based_on": "2"}, follow=True)
    assert "Restored version 1. It is now version 3." in text(response)
