"""Tests of pairing: a device shows a code, and a member approves the pairing."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from core.limits import Rate
from devices.registry.device_report import DeviceReport
from devices.registry.errors import PairingAlreadyDecided, PairingNotFound, TooManyPairings
from devices.registry.models import Device, IdentifierConflict, Pairing
from devices.registry.services import pairing
from devices.registry.tasks import delete_expired_pairings
from devices.registry.tests.factories import DeviceFactory, DeviceIdentifierFactory
from events.models import Event
from tenants.context import bind_caller, tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db
REPORT = {"serial_number": "SN-1", "model": "X96", "manufacturer": "Amlogic"}
Portal = Callable[..., Client]


@pytest.fixture(autouse=True)
def rates(settings: Any) -> Any:
    settings.RATES = dict(settings.RATES, pairing=None, pairing_member=None, pairing_address=None)
    return settings.RATES


@pytest.fixture
def portal(tenant: Tenant) -> Portal:
    def sign_in(role: Role = Role.OPERATOR, of: Tenant | None = None) -> Client:
        client = Client()
        membership = MembershipFactory.create(tenant=of or tenant, role=role)
        client.force_login(membership.user)
        return client

    return sign_in


def start(**fields: Any) -> dict[str, Any]:
    response = APIClient().post("/devices/pair", {**REPORT, **fields})
    assert response.status_code == 200, response.content
    body: dict[str, Any] = response.json()
    return body


def poll(codes: dict[str, Any], *, wait: bool = True) -> Any:
    if wait:
        Pairing.objects.update(polled_at=None)
    return APIClient().post("/devices/pair/token", {"device_code": codes["device_code"]})


def error_code(response: Any) -> str:
    return str(response.json()["errors"][0]["code"])


def pairing_id_on_page(client: Client, user_code: str) -> str:
    page = client.get(f"/admin/pair/?code={user_code}").content.decode()
    match = re.search(r'name="pairing" value="([0-9a-f-]{36})"', page)
    assert match is not None, page
    return match[1]


def decide(client: Client, user_code: str, tenant: Tenant, **fields: str) -> Any:
    pairing_id = pairing_id_on_page(client, user_code)
    return client.post("/admin/pair/", {"pairing": pairing_id, "tenant": str(tenant.pk), **fields})


def test_starting_a_pairing_returns_the_codes_and_a_short_url() -> None:
    codes = start()

    assert re.fullmatch(r"[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", codes["user_code"])
    assert codes["verification_uri"].endswith("/pair")
    assert codes["verification_uri_complete"].endswith(f"/pair?code={codes['user_code']}")
    assert codes["qr_code"].startswith("data:image/png;base64,")
    assert (codes["expires_in"], codes["interval"]) == (600, 5)


def test_codes_are_not_stored_in_plain_text() -> None:
    codes = start()

    row = str(Pairing.objects.values().get())

    assert codes["device_code"] not in row
    assert codes["user_code"].replace("-", "") not in row


def test_a_member_reviews_and_approves_a_device(portal: Portal, tenant: Tenant) -> None:
    codes, client = start(), portal()
    assert error_code(poll(codes)) == "authorization_pending"

    page = client.get(f"/admin/pair/?code={codes['user_code']}").content.decode()
    response = decide(client, codes["user_code"], tenant, name="Lobby", tags="hall, north")

    for value in ("X96", "Amlogic", "SN-1", "127.0.0.1"):
        assert value in page
    device = Device.every_tenant.get(tenant=tenant)
    assert response["Location"] == f"/admin/devices/device/{device.pk}/change/"
    body = poll(codes).json()
    assert body["device"]["id"] == str(device.pk)
    assert body["device"]["name"] == "Lobby"
    assert body["device"]["tags"] == ["hall", "north"]
    device_client = APIClient()
    device_client.credentials(HTTP_AUTHORIZATION=f"Bearer {body['token']}")
    assert device_client.post("/devices/connect", {}).status_code == 200
    event = Event.every_tenant.named("device.pairing_approved").get()
    assert event.caller_kind == "member"


def test_a_client_of_the_standard_may_poll_with_more_fields(portal: Portal) -> None:
    codes = start()
    grant = "urn:ietf:params:oauth:grant-type:device_code"
    body = {"device_code": codes["device_code"], "grant_type": grant, "client_id": "tv"}

    response = APIClient().post("/devices/pair/token", body)

    assert response.json()["errors"][0]["code"] == "authorization_pending"


def test_the_token_is_returned_once(portal: Portal, tenant: Tenant) -> None:
    codes = start()
    decide(portal(), codes["user_code"], tenant)

    assert poll(codes).status_code == 200
    assert error_code(poll(codes)) == "expired_token"


def test_polling_too_often_returns_slow_down_and_extends_the_interval() -> None:
    codes = start()
    poll(codes)

    responses = [poll(codes, wait=False) for _ in range(2)]

    assert [error_code(response) for response in responses] == ["slow_down"] * 2
    assert Pairing.objects.get().interval == 15


def test_polling_a_denied_pairing_returns_access_denied(portal: Portal, tenant: Tenant) -> None:
    codes = start()

    decide(portal(), codes["user_code"], tenant, deny="1")

    assert error_code(poll(codes)) == "access_denied"
    assert not Device.every_tenant.exists()


def test_a_code_expires(portal: Portal) -> None:
    codes = start()
    Pairing.objects.update(expires_at=datetime.now(UTC) - timedelta(minutes=1))

    assert error_code(poll(codes)) == "expired_token"
    page = portal().get(f"/admin/pair/?code={codes['user_code']}")
    assert "No device shows this code now" in page.content.decode()


def test_an_unknown_device_code_is_answered_like_an_expired_one() -> None:
    assert error_code(poll({"device_code": "pai_" + "x" * 43})) == "expired_token"


def test_case_and_separators_of_a_typed_code_are_ignored(portal: Portal) -> None:
    typed = start()["user_code"].lower().replace("-", " ")

    page = portal().post("/admin/pair/", {"code": f" {typed} "})

    assert "SN-1" in page.content.decode()


def test_the_short_url_redirects_to_the_page_with_the_code() -> None:
    response = Client().get("/pair?code=WDJB-MJHT")

    assert response["Location"] == "/admin/pair/?code=WDJB-MJHT"
    assert Client().get("/pair?code=%0d%0aX")["Location"].startswith("/admin/pair/?code=%")


def test_the_sign_in_redirect_keeps_the_code() -> None:
    response = Client().get("/admin/pair/?code=WDJB-MJHT")

    assert response["Location"] == "/admin/login/?next=/admin/pair/%3Fcode%3DWDJB-MJHT"


def test_a_viewer_cannot_pair_devices(portal: Portal) -> None:
    codes = start()

    response = portal(Role.VIEWER).get(f"/admin/pair/?code={codes['user_code']}")

    assert response.status_code == 403
    assert b"SN-1" not in response.content


def test_a_member_pairs_devices_with_their_own_tenants_only(portal: Portal, tenant: Tenant) -> None:
    codes, other = start(), TenantFactory.create(name="Other tenant")
    client = portal()

    page = client.get(f"/admin/pair/?code={codes['user_code']}").content.decode()
    response = decide(client, codes["user_code"], other)

    assert "Other tenant" not in page
    assert response.status_code == 200
    assert not Device.every_tenant.exists()


def test_a_member_of_two_tenants_chooses_one(portal: Portal, tenant: Tenant) -> None:
    membership = MembershipFactory.create(role=Role.OPERATOR)
    MembershipFactory.create(user=membership.user, tenant=tenant, role=Role.OPERATOR)
    client = Client()
    client.force_login(membership.user)

    decide(client, start()["user_code"], tenant)

    assert Device.every_tenant.get().tenant == tenant


def test_a_pairing_that_another_member_has_decided_is_refused(
    portal: Portal, tenant: Tenant
) -> None:
    codes = start()
    pairing_id = pairing_id_on_page(portal(), codes["user_code"])
    other = TenantFactory.create()
    decide(portal(of=other), codes["user_code"], other)

    response = portal().post(
        "/admin/pair/", {"pairing": pairing_id, "tenant": str(tenant.pk)}, follow=True
    )

    assert "no longer waiting for approval" in response.content.decode()
    assert Device.every_tenant.get().tenant == other


@pytest.mark.django_db(transaction=True)
def test_concurrent_approvals_register_one_device(tenant: Tenant) -> None:
    pairing.start(report=DeviceReport(serial_number="SN-1"), now=datetime.now(UTC))
    row = Pairing.objects.get()

    def approve(_: int) -> bool:
        try:
            with tenant_scope(tenant.pk):
                pairing.approve(pairing_id=row.pk, now=datetime.now(UTC))
        except PairingAlreadyDecided:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(4) as pool:
        approvals = list(pool.map(approve, range(4)))

    assert sorted(approvals) == [False, False, False, True]
    assert Device.every_tenant.count() == 1


def test_pairing_a_known_device_keeps_its_row_and_adds_tags(portal: Portal, device: Device) -> None:
    DeviceIdentifierFactory.create(device=device, written="SN-1")
    codes = start()

    decide(portal(), codes["user_code"], device.tenant, tags="hall")

    body = poll(codes).json()
    assert body["device"]["id"] == str(device.pk)
    assert body["device"]["name"] == device.name
    assert body["device"]["tags"] == ["hall"]


def test_identifiers_of_two_devices_are_an_error_on_the_page(
    portal: Portal, tenant: Tenant
) -> None:
    for kind, value in (("serial_number", "SN-1"), ("android_id", "abc1")):
        DeviceIdentifierFactory.create(
            device=DeviceFactory.create(tenant=tenant), kind=kind, written=value
        )
    codes = start(android_id="abc1")

    response = decide(portal(), codes["user_code"], tenant)

    assert "or to another device" in response.content.decode()
    assert IdentifierConflict.every_tenant.get().value == "sn-1"
    assert error_code(poll(codes)) == "authorization_pending"


def test_a_device_retired_before_its_token_was_fetched_stays_retired(
    portal: Portal, tenant: Tenant, member: Callable[..., APIClient]
) -> None:
    codes = start()
    decide(portal(), codes["user_code"], tenant)
    member().delete(f"/devices/{Device.every_tenant.get().pk}")

    assert error_code(poll(codes)) == "access_denied"


@pytest.mark.parametrize("body", [{}, {"serial_number": "unknown"}, {"serial_number": 5}])
def test_a_report_without_a_unique_identifier_gets_no_code(body: Any) -> None:
    response = APIClient().post("/devices/pair", body)

    assert response.status_code == 400
    assert not Pairing.objects.exists()


def test_pending_pairings_are_limited_per_address() -> None:
    now = datetime.now(UTC)
    for _ in range(pairing.MAX_PENDING_PER_ADDRESS):
        pairing.start(report=DeviceReport(serial_number="SN-1"), now=now)

    with pytest.raises(TooManyPairings):
        pairing.start(report=DeviceReport(serial_number="SN-1"), now=now)


def test_lookups_are_limited_per_member(rates: Any) -> None:
    rates["pairing_member"] = Rate(2, 600)
    bind_caller("member", id=uuid4(), name="x")

    for _ in range(2):
        with pytest.raises(PairingNotFound):
            pairing.find("BCDFGHJK", now=datetime.now(UTC))
    with pytest.raises(TooManyPairings):
        pairing.find("BCDFGHJK", now=datetime.now(UTC))


def test_lookups_are_limited_per_code() -> None:
    now = datetime.now(UTC)
    codes = pairing.start(report=DeviceReport(serial_number="SN-1"), now=now)

    for _ in range(pairing.MAX_LOOKUPS):
        pairing.find(codes.user_code, now=now)
    with pytest.raises(TooManyPairings):
        pairing.find(codes.user_code, now=now)


def test_pairings_that_expired_a_day_ago_are_deleted(now: datetime) -> None:
    pairing.start(report=DeviceReport(serial_number="SN-1"), now=now)

    pairing.delete_expired(now=now + timedelta(hours=23))
    assert Pairing.objects.count() == 1
    assert delete_expired_pairings() == 1


def test_pairing_requires_the_second_factor_of_the_chosen_tenant(tenant: Tenant) -> None:
    membership = MembershipFactory.create(role=Role.OPERATOR)
    MembershipFactory.create(user=membership.user, tenant=tenant, role=Role.OPERATOR)
    Tenant.objects.filter(pk=tenant.pk).update(requires_second_factor=True)
    client, codes = Client(), start()
    client.force_login(membership.user)

    response = decide(client, codes["user_code"], tenant)

    assert response.status_code == 200
    assert not Device.every_tenant.exists()
