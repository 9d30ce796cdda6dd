"""A box without any credential shows a code; a member lets it in."""

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
from devices.registry.device_report import Box
from devices.registry.errors import (
    PairingAlreadyDecided,
    PairingNotFound,
    TooManyPairings,
)
from devices.registry.models import Device, Pairing
from devices.registry.services import pairing
from devices.registry.tasks import delete_expired_pairings
from devices.registry.tests.factories import DeviceFactory, DeviceIdentifierFactory
from events.models import Event
from tenants.context import bind_caller, tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db
BOX = {"serial_number": "SN-1", "model": "X96", "manufacturer": "Amlogic"}
Portal = Callable[..., Client]


@pytest.fixture(autouse=True)
def rates(settings: Any) -> Any:
    settings.RATES = dict(
        settings.RATES, pairing=None, pairing_member=None, pairing_address=None
    )
    return settings.RATES


@pytest.fixture
def portal(tenant: Tenant) -> Portal:
    def entering(role: Role = Role.OPERATOR, of: Tenant | None = None) -> Client:
        client = Client()
        membership = MembershipFactory.create(tenant=of or tenant, role=role)
        client.force_login(membership.user)
        return client

    return entering


def start(**more: Any) -> dict[str, Any]:
    answer = APIClient().post("/devices/pair", {**BOX, **more})
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = answer.json()
    return body


def poll(started: dict[str, Any], *, patient: bool = True) -> Any:
    if patient:
        Pairing.objects.update(polled_at=None)
    return APIClient().post(
        "/devices/pair/token", {"device_code": started["device_code"]}
    )


def code_of(answer: Any) -> str:
    return str(answer.json()["errors"][0]["code"])


def decide(client: Client, user_code: str, tenant: Tenant, **said: str) -> Any:
    page = client.get(f"/admin/pair/?code={user_code}").content.decode()
    found = re.search(r'name="pairing" value="([0-9a-f-]{36})"', page)
    assert found is not None, page
    return client.post(
        "/admin/pair/", {"pairing": found[1], "tenant": str(tenant.pk), **said}
    )


def test_a_box_gets_its_codes_and_an_address_that_fits_on_a_screen() -> None:
    started = start()

    assert re.fullmatch(
        r"[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", started["user_code"]
    )
    assert started["verification_uri"].endswith("/pair")
    assert started["verification_uri_complete"].endswith(
        f"/pair?code={started['user_code']}"
    )
    assert started["qr_code"].startswith("data:image/png;base64,")
    assert (started["expires_in"], started["interval"]) == (600, 5)


def test_neither_code_is_kept_in_the_clear() -> None:
    started = start()

    row = Pairing.objects.values().get()

    said = str(row)
    assert started["device_code"] not in said
    assert started["user_code"].replace("-", "") not in said


def test_a_member_sees_which_box_it_is_and_lets_it_in(
    portal: Portal, tenant: Tenant
) -> None:
    started, client = start(), portal()
    assert code_of(poll(started)) == "authorization_pending"

    page = client.get(f"/admin/pair/?code={started['user_code']}").content.decode()
    answer = decide(
        client, started["user_code"], tenant, name="Lobby", tags="hall, north"
    )

    for shown in ("X96", "Amlogic", "SN-1", "127.0.0.1"):
        assert shown in page
    device = Device.every_tenant.get(tenant=tenant)
    assert answer["Location"] == f"/admin/devices/device/{device.pk}/change/"
    fetched = poll(started).json()
    assert fetched["device"]["id"] == str(device.pk)
    assert fetched["device"]["name"] == "Lobby"
    assert fetched["device"]["tags"] == ["hall", "north"]
    box = APIClient()
    box.credentials(HTTP_AUTHORIZATION=f"Bearer {fetched['token']}")
    assert box.post("/devices/connect", {}).status_code == 200
    approved = Event.every_tenant.named("device.pairing_approved").get()
    assert approved.caller_kind == "member"


def test_the_token_is_given_once(portal: Portal, tenant: Tenant) -> None:
    started = start()
    decide(portal(), started["user_code"], tenant)

    assert poll(started).status_code == 200
    assert code_of(poll(started)) == "expired_token"


def test_a_box_that_asks_too_often_is_told_to_slow_down_and_the_interval_grows() -> (
    None
):
    started = start()
    poll(started)

    hasty = [poll(started, patient=False) for _ in range(2)]

    assert [code_of(answer) for answer in hasty] == ["slow_down"] * 2
    assert Pairing.objects.get().interval == 15


def test_a_box_that_a_member_turns_away_is_told_so(
    portal: Portal, tenant: Tenant
) -> None:
    started = start()

    decide(portal(), started["user_code"], tenant, deny="1")

    assert code_of(poll(started)) == "access_denied"
    assert not Device.every_tenant.exists()


def test_a_code_expires(portal: Portal) -> None:
    started = start()
    Pairing.objects.update(expires_at=datetime.now(UTC))

    assert code_of(poll(started)) == "expired_token"
    page = portal().get(f"/admin/pair/?code={started['user_code']}")
    assert "No box shows this code now" in page.content.decode()


def test_a_device_code_that_never_was_tells_nothing() -> None:
    assert code_of(poll({"device_code": "pai_" + "x" * 43})) == "expired_token"


def test_a_code_is_read_however_it_is_typed(portal: Portal) -> None:
    typed = start()["user_code"].lower().replace("-", " ")

    page = portal().post("/admin/pair/", {"code": f" {typed} "})

    assert "SN-1" in page.content.decode()


def test_the_short_address_leads_to_the_page_and_keeps_the_code() -> None:
    answer = Client().get("/pair?code=WDJB-MJHT")

    assert answer["Location"] == "/admin/pair/?code=WDJB-MJHT"
    assert (
        Client().get("/pair?code=%0d%0aX")["Location"].startswith("/admin/pair/?code=%")
    )


def test_who_is_signed_out_comes_back_to_the_code_after_signing_in() -> None:
    answer = Client().get("/admin/pair/?code=WDJB-MJHT")

    assert answer["Location"] == "/admin/login/?next=/admin/pair/%3Fcode%3DWDJB-MJHT"


def test_a_viewer_lets_nobody_in(portal: Portal) -> None:
    started = start()

    answer = portal(Role.VIEWER).get(f"/admin/pair/?code={started['user_code']}")

    assert answer.status_code == 403
    assert b"SN-1" not in answer.content


def test_a_member_lets_boxes_into_their_own_tenants_only(
    portal: Portal, tenant: Tenant
) -> None:
    started, strangers = start(), TenantFactory.create(name="Strangers")
    client = portal()

    page = client.get(f"/admin/pair/?code={started['user_code']}").content.decode()
    answer = decide(client, started["user_code"], strangers)

    assert "Strangers" not in page
    assert answer.status_code == 200
    assert not Device.every_tenant.exists()


def test_a_member_of_two_tenants_picks_one(portal: Portal, tenant: Tenant) -> None:
    other = MembershipFactory.create(role=Role.OPERATOR)
    MembershipFactory.create(user=other.user, tenant=tenant, role=Role.OPERATOR)
    client = Client()
    client.force_login(other.user)

    decide(client, start()["user_code"], tenant)

    assert Device.every_tenant.get().tenant == tenant


def test_a_code_that_another_member_has_used_is_refused_clearly(
    portal: Portal, tenant: Tenant
) -> None:
    started = start()
    page = portal().get(f"/admin/pair/?code={started['user_code']}").content.decode()
    pairing_id = re.search(r'name="pairing" value="([0-9a-f-]{36})"', page)
    assert pairing_id is not None
    other = TenantFactory.create()
    decide(portal(of=other), started["user_code"], other)

    late = portal().post(
        "/admin/pair/",
        {"pairing": pairing_id[1], "tenant": str(tenant.pk)},
        follow=True,
    )

    assert "not waiting any more" in late.content.decode()
    assert Device.every_tenant.get().tenant == other


@pytest.mark.django_db(transaction=True)
def test_of_two_members_at_once_one_lets_it_in(tenant: Tenant) -> None:
    pairing.start(box=Box(serial_number="SN-1"), now=datetime.now(UTC))
    waiting = Pairing.objects.get()

    def approve(_: int) -> bool:
        try:
            with tenant_scope(tenant.pk):
                pairing.approve(pairing_id=waiting.pk, now=datetime.now(UTC))
        except PairingAlreadyDecided:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(approve, range(4)))

    assert sorted(won) == [False, False, False, True]
    assert Device.every_tenant.count() == 1


def test_a_box_that_the_tenant_knows_is_its_own_device_again(
    portal: Portal, device: Device
) -> None:
    DeviceIdentifierFactory.create(device=device, value="SN-1")
    started = start()

    decide(portal(), started["user_code"], device.tenant, tags="hall")

    fetched = poll(started).json()
    assert fetched["device"]["id"] == str(device.pk)
    assert fetched["device"]["name"] == device.name
    assert fetched["device"]["tags"] == ["hall"]


def test_identifiers_of_two_devices_are_told_to_the_member(
    portal: Portal, tenant: Tenant
) -> None:
    for value in ("SN-1", "SN-2"):
        made = DeviceFactory.create(tenant=tenant)
        kind = "serial_number" if value == "SN-1" else "android_id"
        DeviceIdentifierFactory.create(
            device=made, kind=kind, value=value if kind == "serial_number" else "abc1"
        )
    started = start(android_id="abc1")

    answer = decide(portal(), started["user_code"], tenant)

    assert "different devices" in answer.content.decode()
    assert code_of(poll(started)) == "authorization_pending"


def test_a_device_retired_before_the_box_fetched_its_token_stays_retired(
    portal: Portal, tenant: Tenant, member: Callable[..., APIClient]
) -> None:
    started = start()
    decide(portal(), started["user_code"], tenant)
    member().delete(f"/devices/{Device.every_tenant.get().pk}")

    assert code_of(poll(started)) == "access_denied"


@pytest.mark.parametrize(
    "body", [{}, {"serial_number": "unknown"}, {"serial_number": 5}]
)
def test_a_box_that_nothing_identifies_gets_no_code(body: Any) -> None:
    answer = APIClient().post("/devices/pair", body)

    assert answer.status_code == 400
    assert not Pairing.objects.exists()


def test_one_address_has_only_so_many_boxes_waiting() -> None:
    now = datetime.now(UTC)
    for _ in range(pairing.MAX_PENDING_PER_ADDRESS):
        pairing.start(box=Box(serial_number="SN-1"), now=now)

    with pytest.raises(TooManyPairings):
        pairing.start(box=Box(serial_number="SN-1"), now=now)


def test_a_member_guesses_only_so_often(rates: Any) -> None:
    rates["pairing_member"] = Rate(2, 600)
    bind_caller("member", id=uuid4(), name="x")

    for _ in range(2):
        with pytest.raises(PairingNotFound):
            pairing.find("BCDFGHJK", now=datetime.now(UTC))
    with pytest.raises(TooManyPairings):
        pairing.find("BCDFGHJK", now=datetime.now(UTC))


def test_one_code_is_looked_at_only_so_often() -> None:
    now = datetime.now(UTC)
    started = pairing.start(box=Box(serial_number="SN-1"), now=now)

    for _ in range(pairing.MAX_LOOKUPS):
        pairing.find(started.user_code, now=now)
    with pytest.raises(TooManyPairings):
        pairing.find(started.user_code, now=now)


def test_pairings_that_are_over_are_forgotten(now: datetime) -> None:
    pairing.start(box=Box(serial_number="SN-1"), now=now)

    pairing.delete_expired(now=now + timedelta(hours=23))
    assert Pairing.objects.count() == 1
    assert delete_expired_pairings() == 1


def test_a_tenant_that_requires_a_second_factor_wants_it_for_pairing_too(
    tenant: Tenant,
) -> None:
    open_one = MembershipFactory.create(role=Role.OPERATOR)
    MembershipFactory.create(user=open_one.user, tenant=tenant, role=Role.OPERATOR)
    Tenant.objects.filter(pk=tenant.pk).update(requires_second_factor=True)
    client, started = Client(), start()
    client.force_login(open_one.user)

    answer = decide(client, started["user_code"], tenant)

    assert answer.status_code == 200
    assert not Device.every_tenant.exists()
