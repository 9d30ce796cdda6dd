"""The search of the portal."""

from datetime import datetime
from typing import Any

import pytest
from django.test import Client

from certificates.tests.issuance import issue_certificate
from devices.monitoring.tests.factories import AlertFactory
from devices.registry.models import Device
from devices.registry.services.tags import set_tags
from devices.registry.tests.factories import DeviceFactory, DeviceIdentifierFactory, SiteFactory
from tenants.context import tenant_scope
from tenants.models import Role, Tenant, User
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def client(tenant: Tenant) -> Client:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=Role.VIEWER).user)
    return client


def found(client: Client, text: str) -> dict[str, list[str]]:
    """Return the titles of the results by group."""
    response = client.get("/admin/find/", {"q": text})
    assert response.status_code == 200
    return {
        group["title"]: [hit["title"] for hit in group["hits"]]
        for group in response.json()["groups"]
    }


@pytest.fixture
def lobby(tenant: Tenant) -> Device:
    device: Device = DeviceFactory.create(
        tenant=tenant,
        name="Lobby screen",
        model="Bravia",
        ip_address="192.0.2.17",
        site=SiteFactory.create(tenant=tenant, name="Berlin Mitte"),
    )
    DeviceIdentifierFactory.create(device=device, kind="serial_number", written="SN-4711")
    DeviceIdentifierFactory.create(device=device, kind="android_id", written="9774d56d682e549c")
    DeviceIdentifierFactory.create(
        device=device, kind="mac_address", value="a8:bb:cc:dd:ee:0f", written=""
    )
    with tenant_scope(tenant.pk):
        set_tags(device, ["window", "ground floor"])
    return device


@pytest.mark.parametrize(
    "text",
    [
        "lobby",
        "BBY SCR",
        "sn-47",
        "9774D56D",
        "A8:BB:CC:DD:EE:0F",
        "a8-bb-cc-dd-ee-0f",
        "a8bb.ccdd.ee0f",
        "A8BBCC",
        "a8-bb-cc",
        "EE0F",
        "ee:0f",
        "DE-E0F",
        "192.0.2.17",
        "  lobby  ",
    ],
)
def test_a_device_is_found_by_what_people_know_of_it(
    client: Client, lobby: Device, text: str
) -> None:
    DeviceFactory.create(tenant=lobby.tenant, name="Another")

    assert found(client, text)["Devices"] == ["Lobby screen"]


def test_a_device_is_found_by_its_id(client: Client, lobby: Device) -> None:
    assert found(client, str(lobby.pk))["Device"] == ["Lobby screen"]


def test_tags_models_and_sites_lead_to_their_devices(client: Client, lobby: Device) -> None:
    assert found(client, "ground")["Tags"] == ["ground floor"]
    assert found(client, "Bravia")["Models"] == ["Bravia"]
    assert found(client, "mitte")["Sites"] == ["Berlin Mitte"]


def test_certificates_are_found_by_serial_number_and_fingerprint(
    client: Client, lobby: Device, now: datetime
) -> None:
    certificate = issue_certificate(lobby, now=now)
    serial = certificate.serial_number.upper()
    with_colons = ":".join(serial[place : place + 2] for place in range(0, len(serial), 2))

    for text in (
        serial,
        with_colons,
        certificate.fingerprint,
        certificate.fingerprint[:12].upper(),
    ):
        assert found(client, text)["Certificates"] == [certificate.serial_number], text


def test_open_alerts_commands_and_events_are_found(client: Client, lobby: Device) -> None:
    AlertFactory.create(tenant=lobby.tenant, device=lobby, title="CPU above 90 %")

    assert found(client, "cpu above")["Open alerts"] == ["CPU above 90 %"]
    assert found(client, "reboot")["Commands"] == ["Reboot"]
    assert "device.retired" in found(client, "retired")["Events"]


def test_nothing_of_another_tenant_is_found(lobby: Device) -> None:
    other = Client()
    other.force_login(MembershipFactory.create(tenant=TenantFactory.create()).user)

    for text in ("lobby", "sn-4711", "ground", "mitte", str(lobby.pk), "192.0.2.17", "Bravia"):
        assert found(other, text) == {}, text


def test_a_superuser_finds_devices_of_all_tenants(lobby: Device) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.com", "x"))

    assert found(client, "lobby")["Devices"] == ["Lobby screen"]


@pytest.mark.parametrize("text", ["", "x", "\x00", "%", "_", "\\", "'", "a" * 5000, "🖥️🖥️"])
def test_no_text_is_an_error(client: Client, lobby: Device, text: str) -> None:
    assert "Devices" not in found(client, text)


def test_more_results_than_fit_lead_to_the_list(client: Client, tenant: Tenant) -> None:
    for _ in range(7):
        DeviceFactory.create(tenant=tenant, name="Hall screen")

    (group,) = client.get("/admin/find/", {"q": "hall"}).json()["groups"]

    assert len(group["hits"]) == 6
    page: Any = client.get(group["more"])
    assert page.content.decode().count("Hall screen</a>") == 7


def test_events_are_filtered_by_device_person_and_time(
    client: Client, lobby: Device, member: Any
) -> None:
    with_token = member()
    with_token.patch(f"/devices/{lobby.pk}", {"name": "Renamed"})
    events = "/admin/events/event/"

    def rows(query: str) -> int:
        return client.get(f"{events}?{query}").content.decode().count('class="data-row')

    assert rows("device=renam") == 1
    assert rows(f"device={lobby.pk}") == 1
    assert rows("device=nothing") == 0
    assert rows("person=example") >= 1
    assert rows("person=nobody") == 0
    assert rows("at_from_0=2000-01-01&at_from_1=00:00:00") >= 1
    assert rows("at_from_0=2999-01-01&at_from_1=00:00:00") == 0
    assert "Renamed</a>" in client.get(events).content.decode()


def test_names_of_sites_and_tags_are_suggested(client: Client, lobby: Device) -> None:
    def names(kind: str, text: str) -> list[str]:
        names: list[str] = client.get("/admin/suggest/", {"kind": kind, "q": text}).json()["names"]
        return names

    SiteFactory.create(name="Berlin of another tenant")
    assert names("site", "berl") == ["Berlin Mitte"]
    assert names("tag", "o") == ["ground floor", "window"]
    assert names("tag", "") == ["ground floor", "window"]
    assert names("device", "lobby") == []
