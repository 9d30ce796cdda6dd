"""Bulk operations in the portal."""

import re
from datetime import datetime
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from devices.bulk.models import BulkOperation
from devices.bulk.services import operations
from devices.registry.models import Device, DeviceTag
from devices.registry.tests.factories import DeviceFactory, SiteFactory
from tenants.context import every_tenant_scope
from tenants.models import Role, Tenant, User
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db
DEVICES = "/admin/devices/device/"


def signed_in(tenant: Tenant, role: Role = Role.OPERATOR) -> Client:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=role).user)
    return client


def asked(client: Client, action: str, *devices: Device, query: str = "", **fields: str) -> str:
    """Choose an action for devices of the list. Return the page that it leads to."""
    ids = [str(device.pk) for device in devices]
    data = {"action": f"bulk_{action}", "_selected_action": ids, **fields}
    response = client.post(f"{DEVICES}{query}", data, follow=True)
    assert response.status_code == 200
    return str(response.content.decode())


def start(client: Client, page: str, **fields: str) -> str:
    """Submit the page of a new operation. Return the next page."""
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
    conditions = hidden["conditions"].replace("&quot;", '"')
    address = re.search(r'<form method="post" action="([^"]*/start/[^"]*)"', page)
    assert address is not None
    data = {"conditions": conditions, "found": hidden.get("found", ""), **fields}
    response = client.post(address[1], data, follow=True)
    assert response.status_code == 200
    return str(response.content.decode())


def run() -> None:
    with every_tenant_scope():
        while operations.process_next_batch(now=timezone.now()):
            pass


def test_selected_devices_get_a_tag_and_the_undo_takes_it_away(tenant: Tenant) -> None:
    first, second, other = (DeviceFactory.create(tenant=tenant) for _ in range(3))
    client = signed_in(tenant)

    page = asked(client, "add_tags", first, second)
    assert "Selected devices" in page
    assert first.name in page
    assert other.name not in page
    page = start(client, page, tags="lobby, floor 2")
    assert "Started for 2 devices." in page
    run()

    row = BulkOperation.every_tenant.get()
    page_address = f"/admin/bulk/bulkoperation/{row.pk}/"
    assert "Add tags: floor 2, lobby" in client.get(f"{page_address}change/").content.decode()
    report: Any = client.get(f"{page_address}report/")
    assert first.name in b"".join(report.streaming_content).decode("utf-8-sig")
    client.post(f"{page_address}act/", {"undo": "1"})
    run()
    assert not DeviceTag.every_tenant.exists()
    assert "This operation was undone." in client.get(f"{page_address}change/").content.decode()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"Online lobby", "Offline", "New"}),
        ("?status=never_connected", {"New"}),
        ("?status=offline", {"Offline"}),
        ("?q=lobby", {"Online lobby"}),
        ("?model=X9", {"Online lobby", "New"}),
        ("?site=SITE", {"Offline"}),
        ("?pending=quarantine&model=", set()),
    ],
)
def test_all_devices_that_match_the_filter_are_changed(
    tenant: Tenant, now: datetime, query: str, expected: set[str]
) -> None:
    site = SiteFactory.create(tenant=tenant)
    DeviceFactory.create(
        tenant=tenant, name="Online lobby", status="online", last_seen=now, model="X96"
    )
    DeviceFactory.create(tenant=tenant, name="Offline", last_seen=now, model="H96", site=site)
    selected = DeviceFactory.create(tenant=tenant, name="New", model="X96")
    DeviceFactory.create(tenant=tenant, name="Gone", status="retired", retired_at=now)
    client = signed_in(tenant)
    address = query.replace("SITE", str(site.pk))

    page = asked(client, "add_tags", selected, query=address, select_across="1")
    assert f"{len(expected)} device" in page
    if expected:
        start(client, page, tags="changed")
        run()

    names = set(Device.every_tenant.with_tag("changed").values_list("name", flat=True))
    assert names == expected


def test_another_number_of_devices_is_shown_before_anything_starts(tenant: Tenant) -> None:
    selected = DeviceFactory.create(tenant=tenant)
    client = signed_in(tenant)
    page = asked(client, "retire", selected, select_across="1")
    DeviceFactory.create(tenant=tenant, name="Just registered")

    page = start(client, page)

    assert "Other devices match now." in page
    assert "Just registered" in page
    assert not BulkOperation.every_tenant.exists()
    assert "Started for 2 devices." in start(client, page)


def test_errors_are_shown_next_to_their_field(tenant: Tenant) -> None:
    device = DeviceFactory.create(tenant=tenant)
    client = signed_in(tenant)

    page = start(client, asked(client, "set_site", device), site="nowhere")

    assert "There is no such site." in page
    assert not BulkOperation.every_tenant.exists()


def test_viewers_have_no_bulk_actions(tenant: Tenant) -> None:
    device = DeviceFactory.create(tenant=tenant)
    client = signed_in(tenant, Role.VIEWER)

    assert "bulk_retire" not in client.get(DEVICES).content.decode()
    asked(client, "retire", device)
    started = client.post(
        f"/admin/bulk/bulkoperation/start/{tenant.slug}/retire/", {"conditions": "{}", "found": "1"}
    )

    assert started.status_code == 403
    assert not BulkOperation.every_tenant.exists()


def test_a_superuser_is_asked_for_one_tenant(tenant: Tenant) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.com", "x"))
    ours, theirs = DeviceFactory.create(tenant=tenant), DeviceFactory.create()

    assert "Choose devices of one tenant." in asked(client, "add_tags", ours, theirs)
    page = start(client, asked(client, "add_tags", ours), tags="a")

    assert "Started for 1 devices." in page
    assert BulkOperation.every_tenant.get().tenant_id == tenant.pk


def test_the_list_never_shows_an_invented_number(tenant: Tenant) -> None:
    for _ in range(51):
        DeviceFactory.create(tenant=tenant)

    page = signed_in(tenant).get(DEVICES).content.decode()

    assert "999999" not in page
    assert "Select all devices that match" in page
    assert 'value="retire_selected"' not in page
