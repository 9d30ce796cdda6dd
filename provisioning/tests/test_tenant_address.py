"""The tenant is part of the portal's addresses."""

import re
from typing import Any

import pytest
from django.test import Client

from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from tenants.models import Role, Tenant, User
from tenants.tests.factories import MembershipFactory, TenantFactory, UserFactory

pytestmark = pytest.mark.django_db
DEVICES = "/admin/devices/device/"


@pytest.fixture
def one() -> Tenant:
    return TenantFactory.create(slug="one", name="Tenant One")


@pytest.fixture
def two() -> Tenant:
    return TenantFactory.create(slug="two", name="Tenant Two")


@pytest.fixture
def member_of_both(one: Tenant, two: Tenant) -> Client:
    user = UserFactory.create()
    for tenant in (one, two):
        MembershipFactory.create(tenant=tenant, user=user, role=Role.ADMIN)
    client = Client()
    client.force_login(user)
    return client


def text(response: Any) -> str:
    assert response.status_code == 200, response.status_code
    return str(response.content.decode())


def test_two_tabs_act_in_the_tenant_in_their_address(member_of_both: Client) -> None:
    first = text(member_of_both.get(f"/t/one{DEVICES}add/"))
    text(member_of_both.get(f"/t/two{DEVICES}add/"))

    assert 'href="/t/one/admin/' in first
    assert 'href="/t/two/admin/devices' not in first
    response = member_of_both.post(f"/t/one{DEVICES}add/", {"serial_number": "SN-1"})

    assert Device.every_tenant.get().tenant.slug == "one"
    assert response.status_code in (200, 302)


def test_each_list_shows_the_tenant_in_its_address(
    member_of_both: Client, one: Tenant, two: Tenant
) -> None:
    for tenant in (one, two):
        DeviceFactory.create(tenant=tenant, name=f"Screen of {tenant.slug}")

    for tenant, other in ((one, two), (two, one)):
        page = text(member_of_both.get(f"/t/{tenant.slug}{DEVICES}"))
        assert f"Screen of {tenant.slug}" in page
        assert f"Screen of {other.slug}" not in page
        assert f"{tenant.name} · Admin" in page
        assert f'href="/t/{other.slug}/admin/"' in page


def test_a_page_without_a_tenant_asks_for_one(member_of_both: Client) -> None:
    page = text(member_of_both.get(f"{DEVICES}?q=x"))

    for slug in ("one", "two"):
        assert f'href="/t/{slug}{DEVICES}?q=x"' in page


def test_a_form_without_a_tenant_is_refused(member_of_both: Client) -> None:
    response = member_of_both.post(f"{DEVICES}add/", {"serial_number": "SN-1"})

    assert response.status_code == 409
    assert "Nothing was saved" in response.content.decode()
    assert not Device.every_tenant.exists()


def test_the_tenant_of_a_member_of_one_tenant_is_known(one: Tenant) -> None:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=one, role=Role.OPERATOR).user)

    assert client.get("/admin/")["Location"] == "/t/one/admin/"
    client.post(f"{DEVICES}add/", {"serial_number": "SN-1"})

    assert Device.every_tenant.get().tenant == one


@pytest.mark.parametrize("path", ["/t/two/admin/", f"/t/two{DEVICES}", "/t/nowhere/admin/"])
def test_the_portal_of_another_tenant_does_not_exist(one: Tenant, two: Tenant, path: str) -> None:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=one, role=Role.OWNER).user)

    assert client.get(path).status_code == 404
    assert client.post(path, {"serial_number": "SN-1"}).status_code == 404


def test_a_superuser_enters_one_tenant(one: Tenant, two: Tenant) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.com", "x"))
    for tenant in (one, two):
        DeviceFactory.create(tenant=tenant, name=f"Screen of {tenant.slug}")
    assert 'href="/t/one/admin/"' in text(client.get("/admin/tenants/tenant/"))

    page = text(client.get(f"/t/one{DEVICES}"))
    client.post(f"/t/one{DEVICES}add/", {"serial_number": "SN-1"})

    assert "Screen of one" in page
    assert "Screen of two" not in page
    assert "Tenant One · Superuser" in page
    assert Device.every_tenant.filter(tenant=one).count() == 2
    everything = text(client.get(DEVICES))
    assert "Screen of one" in everything
    assert "Screen of two" in everything


def test_signing_in_leads_back_to_the_address(one: Tenant) -> None:
    user = User.objects.create_user("a@example.com", "a-long-and-good-one")
    MembershipFactory.create(tenant=one, user=user)
    client = Client()

    login = client.get(f"/t/one{DEVICES}")["Location"]
    assert login == f"/t/one/admin/login/?next=/t/one{DEVICES}"
    data = {"username": user.email, "password": "a-long-and-good-one", "next": f"/t/one{DEVICES}"}
    assert client.post(login, data)["Location"] == f"/t/one{DEVICES}"


def test_a_device_is_paired_in_any_tenant_of_the_member(member_of_both: Client) -> None:
    pairing = Client().post(
        "/devices/pair", {"serial_number": "SN-1"}, content_type="application/json"
    )
    code = pairing.json()["user_code"]

    short = member_of_both.get(f"/pair?code={code}", follow=True)

    page = text(short)
    assert len(re.findall(r"<option value=\"[0-9a-f-]{36}\"", page)) == 2


def test_other_pages_and_static_files_have_no_tenant(member_of_both: Client) -> None:
    assert Client().get("/t/one/devices").status_code == 404
    assert 'src="/static/' in text(member_of_both.get("/t/one/admin/"))
