"""The portal through its pages, as a superuser and as members see it."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from certificates.models import DeviceCertificate
from certificates.services.certificate_management import CertificateManagementService
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device, DeviceIdentifier, EnrollmentToken
from devices.registry.tests.factories import DeviceFactory, EnrollmentTokenFactory
from events.models import Delivery, Event
from tenants.context import tenant_scope
from tenants.models import ApiToken, Membership, Role, Tenant, User
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db
DEVICES = "/admin/devices/device/"
CERTIFICATES = "/admin/certificates/devicecertificate/"
Portal = Callable[..., Client]


@pytest.fixture
def superuser() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.com", "x"))
    return client


@pytest.fixture
def portal(tenant: Tenant) -> Portal:
    """The portal as a member of the tenant sees it."""

    def entering(role: Role = Role.OPERATOR) -> Client:
        client = Client()
        client.force_login(MembershipFactory.create(tenant=tenant, role=role).user)
        return client

    return entering


def text(answer: Any) -> str:
    assert answer.status_code == 200, answer.status_code
    return re.sub(r"\s+", " ", answer.content.decode())


def certificate(device: Device) -> DeviceCertificate:
    return CertificateManagementService().issue_certificate(
        device=device, csr_pem=request_for(ec_key()), now=datetime.now(UTC)
    )


def act(client: Client, url: str, action: str, *rows: Any, **more: str) -> Any:
    chosen = [str(row.pk) for row in rows]
    return client.post(url, {"action": action, ACTION_CHECKBOX_NAME: chosen, **more})


@pytest.mark.parametrize(
    "model", list(admin.site._registry), ids=lambda model: model.__name__
)
def test_every_list_and_every_add_form_opens(superuser: Client, model: Any) -> None:
    name = f"{model._meta.app_label}_{model._meta.model_name}"

    assert superuser.get(reverse(f"admin:{name}_changelist")).status_code == 200
    add = superuser.get(reverse(f"admin:{name}_add"))
    assert add.status_code in {200, 403}


def test_a_person_without_a_tenant_does_not_enter() -> None:
    client = Client()
    client.force_login(User.objects.create_user("nobody@example.com", "x"))

    assert client.get("/admin/").status_code == 302


def test_a_member_enters_with_email_and_password(tenant: Tenant) -> None:
    membership = MembershipFactory.create(tenant=tenant)
    membership.user.set_password("a long enough one")
    membership.user.save()

    answer = Client().post(
        "/admin/login/",
        {"username": membership.user.email, "password": "a long enough one"},
        follow=True,
    )

    assert "Online share" in text(answer)


def test_a_member_sees_the_tenants_rows_and_no_others(
    portal: Portal, device: Device
) -> None:
    strangers = DeviceFactory.create(name="Strange box")
    row, other = certificate(device), certificate(strangers)
    client = portal(Role.OWNER)

    listed = text(client.get(DEVICES))
    assert device.name in listed
    assert "Strange box" not in listed
    assert "Strange box" not in text(client.get("/admin/"))
    assert client.get(f"{DEVICES}{strangers.pk}/change/").status_code == 302
    certificates = text(client.get(CERTIFICATES))
    assert row.serial_number in certificates
    assert other.serial_number not in certificates
    assert client.get(f"{CERTIFICATES}{other.pk}/change/").status_code == 302
    events = text(client.get("/admin/events/event/"))
    assert events.count("certificate.issued") >= 1
    assert str(strangers.pk) not in events


def test_a_member_acts_on_no_strangers_rows(portal: Portal) -> None:
    strangers = DeviceFactory.create()
    row = certificate(strangers)
    client = portal(Role.OWNER)

    act(client, DEVICES, "retire_selected", strangers, confirmed="yes")
    act(
        client,
        CERTIFICATES,
        "revoke_selected",
        row,
        confirmed="yes",
        reason="unspecified",
    )

    strangers.refresh_from_db()
    row.refresh_from_db()
    assert (strangers.status, row.status) == ("offline", "active")


def test_a_superuser_sees_every_tenant(superuser: Client) -> None:
    devices = DeviceFactory.create_batch(2)

    listed = text(superuser.get(DEVICES))

    assert all(device.name in listed for device in devices)
    assert devices[0].tenant.name in listed


def test_a_viewer_looks_and_finds_nothing_to_press(
    portal: Portal, device: Device
) -> None:
    client = portal(Role.VIEWER)

    page = text(client.get(f"{DEVICES}{device.pk}/change/"))
    assert 'name="_save"' not in page
    assert client.get(f"{DEVICES}add/").status_code == 403
    act(client, DEVICES, "retire_selected", device, confirmed="yes")
    device.refresh_from_db()
    assert device.status == "offline"
    for hidden in ("tenants/membership", "tenants/apitoken", "devices/enrollmenttoken"):
        assert client.get(f"/admin/{hidden}/").status_code == 403


def test_installation_pages_are_the_superusers_alone(portal: Portal) -> None:
    client = portal(Role.OWNER)

    for page in (
        "tenants/tenant/add",
        "tenants/user",
        "events/delivery",
        "django_celery_beat/periodictask",
    ):
        assert client.get(f"/admin/{page}/").status_code == 403, page


def test_a_device_is_entered_by_hand(portal: Portal, tenant: Tenant) -> None:
    answer = portal().post(
        f"{DEVICES}add/",
        {
            "name": "Lobby",
            "serial_number": "SN-1",
            "mac_addresses": "AA-BB-CC-DD-EE-0F",
            "tags": "hall, entrance",
        },
    )

    assert answer.status_code == 302
    device = Device.every_tenant.get()
    assert (device.tenant, device.name, device.status) == (tenant, "Lobby", "offline")
    assert DeviceIdentifier.every_tenant.filter(device=device).count() == 2
    assert Event.every_tenant.named("device.registered").get().caller_kind == "member"


def test_a_superuser_says_for_which_tenant(superuser: Client, tenant: Tenant) -> None:
    superuser.post(f"{DEVICES}add/", {"tenant": tenant.pk, "serial_number": "SN-1"})

    assert Device.every_tenant.get().tenant == tenant


def test_what_is_refused_stands_beside_its_field_and_nothing_typed_is_lost(
    portal: Portal,
) -> None:
    client = portal()
    client.post(f"{DEVICES}add/", {"serial_number": "SN-1"})

    page = text(
        client.post(f"{DEVICES}add/", {"serial_number": "SN-1", "name": "Hall"})
    )

    assert "SN-1 belongs to" in page
    assert 'value="Hall"' in page
    assert Device.every_tenant.count() == 1


def test_a_name_and_tags_are_changed_through_the_service(
    portal: Portal, device: Device
) -> None:
    portal().post(
        f"{DEVICES}{device.pk}/change/",
        {
            "name": "Hall",
            "tags": "b, a",
            "identifiers-TOTAL_FORMS": 0,
            "identifiers-INITIAL_FORMS": 0,
            "certificates-TOTAL_FORMS": 0,
            "certificates-INITIAL_FORMS": 0,
        },
    )

    assert Event.every_tenant.named("device.updated").get().changes == {
        "name": [device.name, "Hall"],
        "tags": [[], ["a", "b"]],
    }


def test_retiring_asks_first_and_then_reports(portal: Portal, device: Device) -> None:
    client = portal()

    asked = text(act(client, DEVICES, "retire_selected", device))
    assert "There is no undo" in asked
    device.refresh_from_db()
    assert device.status == "offline"

    reported = text(act(client, DEVICES, "retire_selected", device, confirmed="yes"))
    assert "1 done" in reported
    device.refresh_from_db()
    assert device.status == "retired"


def test_an_action_reports_row_by_row_what_was_done_and_what_was_refused(
    portal: Portal, tenant: Tenant
) -> None:
    good, retired = DeviceFactory.create_batch(2, tenant=tenant)
    client = portal()
    act(client, DEVICES, "retire_selected", retired, confirmed="yes")

    report = text(act(client, DEVICES, "issue_for_selected", good, retired))

    assert "1 done, 1 refused" in report
    assert "The device is retired." in report
    assert DeviceCertificate.objects.active().get().device == good


def test_certificates_are_renewed_and_revoked_with_a_reason(
    portal: Portal, device: Device
) -> None:
    row, client = certificate(device), portal()

    assert "1 done" in text(act(client, CERTIFICATES, "renew_selected", row))
    new = row.successors.get()
    asked = text(act(client, CERTIFICATES, "revoke_selected", new))
    assert "Key compromise" in asked
    refused = act(
        client, CERTIFICATES, "revoke_selected", new, confirmed="yes", reason="x"
    )
    assert "1 refused" in text(refused)
    act(
        client,
        CERTIFICATES,
        "revoke_selected",
        new,
        confirmed="yes",
        reason="keyCompromise",
    )
    new.refresh_from_db()
    assert new.revocation_reason == "keyCompromise"


def test_devices_certificates_are_renewed_and_revoked_from_their_list(
    portal: Portal, tenant: Tenant
) -> None:
    certified, bare = DeviceFactory.create_batch(2, tenant=tenant)
    row, client = certificate(certified), portal()

    renewed = text(act(client, DEVICES, "renew_for_selected", certified, bare))
    assert "1 done, 1 refused" in renewed
    assert "Key compromise" in text(
        act(client, DEVICES, "revoke_for_selected", certified)
    )
    act(
        client,
        DEVICES,
        "revoke_for_selected",
        certified,
        confirmed="yes",
        reason="keyCompromise",
    )
    row.refresh_from_db()
    assert (row.status, row.successors.get().status) == ("revoked", "revoked")


@pytest.mark.parametrize("verb", ["issue-certificate", "retire", "new-token"])
def test_the_buttons_of_a_devices_page_ask_first(
    portal: Portal, device: Device, verb: str
) -> None:
    page = text(portal().get(f"{DEVICES}{device.pk}/{verb}/"))

    assert device.name in page
    assert not DeviceCertificate.objects.exists()


@pytest.mark.parametrize("verb", ["renew", "revoke"])
def test_the_buttons_of_a_certificates_page_ask_first(
    portal: Portal, device: Device, verb: str
) -> None:
    row = certificate(device)

    assert row.serial_number in text(portal().get(f"{CERTIFICATES}{row.pk}/{verb}/"))


def test_a_devices_page_shows_its_certificates_and_events(
    portal: Portal, device: Device
) -> None:
    row = certificate(device)

    page = text(portal().get(f"{DEVICES}{device.pk}/change/"))

    assert row.serial_number in page
    assert "certificate.issued" in page


def test_a_new_device_token_is_shown_once(portal: Portal, device: Device) -> None:
    answer = act(portal(), DEVICES, "new_token_for_selected", device)

    token = re.search(r"dev_[\w-]{43}", text(answer))
    assert token is not None
    assert "no-store" in answer["Cache-Control"]


def test_an_enrollment_token_is_made_shown_once_and_revoked(portal: Portal) -> None:
    client = portal(Role.ADMIN)
    url = "/admin/devices/enrollmenttoken/"

    made = client.post(f"{url}add/", {"name": "hall", "max_uses": "3"})

    assert re.search(r"enr_[\w-]{43}", text(made))
    row = EnrollmentToken.every_tenant.get()
    assert row.max_uses == 3
    assert not re.search(r"enr_[\w-]{43}", text(client.get(url)))
    act(client, url, "revoke_selected", row)
    row.refresh_from_db()
    assert row.revoked_at is not None


def test_an_expiry_in_the_past_is_refused_at_its_field(portal: Portal) -> None:
    page = portal(Role.ADMIN).post(
        "/admin/devices/enrollmenttoken/add/",
        {"name": "hall", "expires_at_0": "2001-01-01", "expires_at_1": "00:00:00"},
    )

    assert "It would be expired" in text(page)
    assert not EnrollmentToken.every_tenant.exists()


def test_a_member_is_let_in_and_their_first_password_shown_once(
    portal: Portal, tenant: Tenant
) -> None:
    page = portal(Role.ADMIN).post(
        "/admin/tenants/membership/add/", {"email": "new@example.com", "role": "viewer"}
    )

    assert "First password of new@example.com" in text(page)
    assert Membership.every_tenant.get(user__email="new@example.com").tenant == tenant


def test_an_admin_makes_no_owner(portal: Portal) -> None:
    page = portal(Role.ADMIN).post(
        "/admin/tenants/membership/add/", {"email": "new@example.com", "role": "owner"}
    )

    assert "Only an owner makes an owner" in text(page)
    assert not User.objects.filter(email="new@example.com").exists()


def test_an_api_token_is_shown_once_and_never_for_one_who_may_more(
    portal: Portal, tenant: Tenant
) -> None:
    owner = MembershipFactory.create(tenant=tenant, role=Role.OWNER)
    viewer = MembershipFactory.create(tenant=tenant, role=Role.VIEWER)
    client, url = portal(Role.ADMIN), "/admin/tenants/apitoken/add/"

    made = client.post(url, {"membership": viewer.pk, "name": "screen"})
    refused = client.post(url, {"membership": owner.pk, "name": "mine"})

    assert re.search(r"usr_[\w-]{43}", text(made))
    assert "may more than you" in text(refused)
    assert ApiToken.every_tenant.get().membership == viewer


def test_a_strangers_member_is_no_choice(portal: Portal) -> None:
    stranger = MembershipFactory.create()

    page = portal(Role.OWNER).post(
        "/admin/tenants/apitoken/add/", {"membership": stranger.pk, "name": "x"}
    )

    assert "Select a valid choice" in text(page)
    assert not ApiToken.every_tenant.exists()


def test_a_superuser_makes_a_tenant_with_its_owner(superuser: Client) -> None:
    page = superuser.post(
        "/admin/tenants/tenant/add/",
        {"slug": "acme", "name": "Acme", "owner": "boss@acme.test"},
    )

    assert re.search(r"usr_[\w-]{43}", text(page))
    assert Membership.every_tenant.get().role == Role.OWNER


def test_a_member_of_two_tenants_changes_between_them(tenant: Tenant) -> None:
    first = MembershipFactory.create(tenant=tenant)
    second = MembershipFactory.create(user=first.user)
    device = DeviceFactory.create(tenant=second.tenant)
    stranger = MembershipFactory.create()
    client = Client()
    client.force_login(first.user)
    assert device.name not in text(client.get(DEVICES))

    client.get(f"/admin/tenant/{second.tenant_id}/")
    assert device.name in text(client.get(DEVICES))

    client.get(f"/admin/tenant/{stranger.tenant_id}/")
    assert device.name in text(client.get(DEVICES))


def test_a_dead_delivery_is_tried_again(superuser: Client, tenant: Tenant) -> None:
    now = datetime.now(UTC)
    event = Event.every_tenant.create(
        tenant=tenant, name="x.happened", at=now, data={}, changes={}
    )
    row = Delivery.objects.create(
        event=event, listener="x", due_at=now, dead_at=now, attempts=12
    )

    page = text(act(superuser, "/admin/events/delivery/", "try_again", row))

    assert "1 done" in page
    row.refresh_from_db()
    assert (row.dead_at, row.attempts) == (None, 0)


def test_the_first_page_has_something_to_say_to_an_empty_tenant(portal: Portal) -> None:
    page = text(portal().get("/admin/"))

    assert "No devices yet" in page
    assert "Nothing has happened yet" in page


@pytest.mark.parametrize(
    "url", ["/admin/", DEVICES, CERTIFICATES, "/admin/events/event/"]
)
def test_a_page_costs_the_same_however_many_rows_it_shows(
    portal: Portal, tenant: Tenant, url: str
) -> None:
    client, counts = portal(), []
    for _ in range(2):
        for device in DeviceFactory.create_batch(3, tenant=tenant):
            certificate(device)
        client.get(url)
        with CaptureQueriesContext(connection) as statements:
            text(client.get(url))
        counts.append(len(statements))

    assert counts[0] == counts[1]


def test_lists_count_nothing(portal: Portal, device: Device) -> None:
    client = portal()

    for url in (DEVICES, CERTIFICATES, "/admin/events/event/"):
        with CaptureQueriesContext(connection) as statements:
            client.get(url)
        assert not [row for row in statements if "COUNT(" in row["sql"]], url


def test_devices_are_found_by_name_and_by_identifier(
    portal: Portal, tenant: Tenant
) -> None:
    DeviceFactory.create(tenant=tenant, name="Berlin lobby")
    DeviceFactory.create(tenant=tenant, name="Hall")

    page = text(portal().get(f"{DEVICES}?q=lobby"))

    assert "Berlin lobby" in page
    assert "Hall" not in page


def test_no_page_shows_a_hash_of_a_token(superuser: Client) -> None:
    row = EnrollmentTokenFactory.create(digest="f00d" * 16)

    page = superuser.get(
        f"/admin/devices/enrollmenttoken/{row.pk}/change/", follow=True
    )

    assert b"f00d" not in page.content


def test_every_model_that_the_portal_shows_says_who_may_see_it() -> None:
    apart = {"User", "Delivery"}  # the superuser's
    ours = [
        model
        for model in admin.site._registry
        if model._meta.app_label in {"tenants", "events", "devices", "certificates"}
    ]

    assert len(ours) > len(apart)
    assert {model.__name__ for model in ours if not hasattr(model, "seen_by")} == apart


@pytest.mark.parametrize(
    "query", ["model=%00", "status__exact=%00", "q=%00", "registered_at=zz"]
)
def test_a_filter_that_cannot_be_is_no_error_page(
    superuser: Client, query: str
) -> None:
    assert superuser.get(f"{DEVICES}?{query}").status_code == 302


def test_a_row_that_cannot_be_is_no_error_page(superuser: Client) -> None:
    answer = superuser.post(
        DEVICES, {"action": "retire_selected", ACTION_CHECKBOX_NAME: ["zz"]}
    )

    assert answer.status_code == 302


def test_a_tag_that_cannot_be_is_refused_at_its_field(portal: Portal) -> None:
    page = portal().post(f"{DEVICES}add/", {"serial_number": "SN-1", "tags": "x" * 65})

    assert "at most 64" in text(page)
    assert not Device.every_tenant.exists()


def test_two_people_at_once_choose_among_their_own_members(
    rf: Any, tenant: Tenant
) -> None:
    """The form of one request must not become the form of another."""
    mine = MembershipFactory.create(tenant=tenant, role=Role.OWNER)
    theirs = MembershipFactory.create(role=Role.OWNER)
    tokens_admin = admin.site._registry[ApiToken]
    forms: list[Any] = []
    for membership in (mine, theirs):
        request = rf.get("/")
        request.user = membership.user
        with tenant_scope(membership.tenant_id):
            forms.append(tokens_admin.get_form(request))

    choices = [list(form()["membership"].field.queryset) for form in forms]

    assert choices == [[mine], [theirs]]


def test_a_device_is_put_into_quarantine_and_released_on_its_page(
    portal: Portal, device: Device
) -> None:
    client, page = portal(), f"{DEVICES}{device.pk}/"

    assert client.get(f"{page}release/").status_code == 403
    assert "Put into quarantine" in text(client.get(f"{page}quarantine/"))
    act(client, DEVICES, "quarantine_selected", device)

    shown = text(client.get(f"{page}change/"))
    assert "In quarantine, <time" in shown
    assert client.get(f"{page}quarantine/").status_code == 403
    assert "trusted again" in text(client.get(f"{page}release/"))
    act(client, DEVICES, "release_selected", device)
    device.refresh_from_db()
    assert device.quarantined_at is None


def test_devices_that_wait_for_a_decision_are_found_by_a_filter(
    portal: Portal, device: Device
) -> None:
    DeviceFactory.create(tenant=device.tenant, name="Undoubted")
    act(portal(), DEVICES, "quarantine_selected", device)

    shown = text(portal().get(f"{DEVICES}?doubts=quarantine"))

    assert device.name in shown
    assert "Undoubted" not in shown
