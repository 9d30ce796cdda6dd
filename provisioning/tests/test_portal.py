"""The portal's pages, for superusers and for members."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
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
from events.tests.factories import ChannelFactory
from tenants.admin import late_pages
from tenants.context import tenant_scope
from tenants.models import ApiToken, Membership, Role, Tenant, User
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db
DEVICES = "/admin/devices/device/"
CERTIFICATES = "/admin/certificates/devicecertificate/"
SignIn = Callable[..., Client]


@pytest.fixture
def superuser() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.com", "x"))
    return client


@pytest.fixture
def portal(tenant: Tenant) -> SignIn:
    """Return a client that is signed in as a member of the tenant."""

    def sign_in(role: Role = Role.OPERATOR) -> Client:
        client = Client()
        client.force_login(MembershipFactory.create(tenant=tenant, role=role).user)
        return client

    return sign_in


def text(response: Any) -> str:
    """Return the content of a page with normalised white space."""
    assert response.status_code == 200, response.status_code
    return re.sub(r"\s+", " ", response.content.decode())


def certificate(device: Device) -> DeviceCertificate:
    return CertificateManagementService().issue_certificate(
        device=device, csr_pem=request_for(ec_key()), now=datetime.now(UTC)
    )


def ask(client: Client, url: str, action: str, *rows: Any) -> Any:
    """Return the page that asks for confirmation of an action."""
    ids = [str(row.pk) for row in rows]
    return client.post(url, {"action": action, ACTION_CHECKBOX_NAME: ids})


def run_action(client: Client, url: str, action: str, *rows: Any, **fields: str) -> Any:
    ids = [str(row.pk) for row in rows]
    data = {"action": action, ACTION_CHECKBOX_NAME: ids, **fields}
    return client.post(url, {"confirmed": "yes", **data})


@pytest.mark.parametrize("model", list(admin.site._registry), ids=lambda model: model.__name__)
def test_every_list_and_add_form_can_be_opened(superuser: Client, model: Any) -> None:
    name = f"{model._meta.app_label}_{model._meta.model_name}"

    assert superuser.get(reverse(f"admin:{name}_changelist")).status_code == 200
    add = superuser.get(reverse(f"admin:{name}_add"))
    assert add.status_code in {200, 403}


def test_a_user_without_a_tenant_has_no_access() -> None:
    client = Client()
    client.force_login(User.objects.create_user("nobody@example.com", "x"))

    assert client.get("/admin/").status_code == 403


def test_a_member_signs_in_with_email_and_password(tenant: Tenant) -> None:
    membership = MembershipFactory.create(tenant=tenant)
    membership.user.set_password("a long enough one")
    membership.user.save()

    response = Client().post(
        "/admin/login/",
        {"username": membership.user.email, "password": "a long enough one"},
        follow=True,
    )

    assert "Online share" in text(response)


def test_a_member_only_sees_rows_of_the_own_tenant(portal: SignIn, device: Device) -> None:
    other_device = DeviceFactory.create(name="Other device")
    row, other_row = certificate(device), certificate(other_device)
    client = portal(Role.OWNER)

    devices = text(client.get(DEVICES))
    assert device.name in devices
    assert "Other device" not in devices
    assert "Other device" not in text(client.get("/admin/", follow=True))
    assert client.get(f"{DEVICES}{other_device.pk}/change/").status_code == 302
    certificates = text(client.get(CERTIFICATES))
    assert row.serial_number in certificates
    assert other_row.serial_number not in certificates
    assert client.get(f"{CERTIFICATES}{other_row.pk}/change/").status_code == 302
    events = text(client.get("/admin/events/event/"))
    assert events.count("certificate.issued") >= 1
    assert str(other_device.pk) not in events


def test_a_members_actions_do_not_change_rows_of_another_tenant(portal: SignIn) -> None:
    other_device = DeviceFactory.create()
    row = certificate(other_device)
    client = portal(Role.OWNER)

    run_action(client, DEVICES, "retire_selected", other_device, confirmed="yes")
    run_action(client, CERTIFICATES, "revoke_selected", row, confirmed="yes", reason="unspecified")

    other_device.refresh_from_db()
    row.refresh_from_db()
    assert (other_device.status, row.status) == ("offline", "active")


def test_a_superuser_sees_every_tenant(superuser: Client) -> None:
    devices = DeviceFactory.create_batch(2)

    page = text(superuser.get(DEVICES))

    assert all(device.name in page for device in devices)
    assert devices[0].tenant.name in page


def test_a_viewer_cannot_change_anything(portal: SignIn, device: Device) -> None:
    client = portal(Role.VIEWER)

    page = text(client.get(f"{DEVICES}{device.pk}/change/"))
    assert 'name="_save"' not in page
    assert client.get(f"{DEVICES}add/").status_code == 403
    run_action(client, DEVICES, "retire_selected", device, confirmed="yes")
    device.refresh_from_db()
    assert device.status == "offline"
    for page in ("tenants/membership", "accounts/invitation", "devices/enrollmenttoken"):
        assert client.get(f"/admin/{page}/").status_code == 403


def test_only_superusers_can_open_installation_pages(portal: SignIn) -> None:
    client = portal(Role.OWNER)

    for page in (
        "tenants/tenant/add",
        "tenants/user",
        "events/delivery",
        "django_celery_beat/periodictask",
    ):
        assert client.get(f"/admin/{page}/").status_code == 403, page


def test_a_device_can_be_added_in_the_portal(portal: SignIn, tenant: Tenant) -> None:
    response = portal().post(
        f"{DEVICES}add/",
        {
            "name": "Lobby",
            "serial_number": "SN-1",
            "mac_addresses": "A8-BB-CC-DD-EE-0F",
            "tags": "hall, entrance",
        },
    )

    assert response.status_code == 302
    device = Device.every_tenant.get()
    assert (device.tenant, device.name, device.status) == (tenant, "Lobby", "offline")
    assert DeviceIdentifier.every_tenant.filter(device=device).count() == 2
    assert Event.every_tenant.named("device.registered").get().caller_kind == "member"


def test_a_superuser_chooses_the_tenant_of_a_new_device(superuser: Client, tenant: Tenant) -> None:
    superuser.post(f"{DEVICES}add/", {"tenant": tenant.pk, "serial_number": "SN-1"})

    assert Device.every_tenant.get().tenant == tenant


def test_an_error_is_shown_at_its_field_and_the_form_keeps_its_values(portal: SignIn) -> None:
    client = portal()
    client.post(f"{DEVICES}add/", {"serial_number": "SN-1"})

    page = text(client.post(f"{DEVICES}add/", {"serial_number": "SN-1", "name": "Hall"}))

    assert "SN-1 belongs to" in page
    assert 'value="Hall"' in page
    assert Device.every_tenant.count() == 1


def test_changing_name_and_tags_records_an_event(portal: SignIn, device: Device) -> None:
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


def test_retiring_requires_a_confirmation(portal: SignIn, device: Device) -> None:
    client = portal()

    page = text(ask(client, DEVICES, "retire_selected", device))
    assert "This cannot be undone" in page
    device.refresh_from_db()
    assert device.status == "offline"

    page = text(run_action(client, DEVICES, "retire_selected", device, confirmed="yes"))
    assert "1 succeeded" in page
    device.refresh_from_db()
    assert device.status == "retired"


def test_an_action_reports_the_result_of_each_row(portal: SignIn, tenant: Tenant) -> None:
    active, retired = DeviceFactory.create_batch(2, tenant=tenant)
    client = portal()
    run_action(client, DEVICES, "retire_selected", retired, confirmed="yes")

    page = text(run_action(client, DEVICES, "issue_for_selected", active, retired))

    assert "1 succeeded, 1 failed" in page
    assert "The device is retired." in page
    assert DeviceCertificate.objects.active().get().device == active


def test_certificates_can_be_renewed_and_revoked_with_a_reason(
    portal: SignIn, device: Device
) -> None:
    row, client = certificate(device), portal()

    assert "1 succeeded" in text(run_action(client, CERTIFICATES, "renew_selected", row))
    new = row.successors.get()
    page = text(ask(client, CERTIFICATES, "revoke_selected", new))
    assert "Key compromise" in page
    response = run_action(client, CERTIFICATES, "revoke_selected", new, confirmed="yes", reason="x")
    assert "1 failed" in text(response)
    run_action(
        client, CERTIFICATES, "revoke_selected", new, confirmed="yes", reason="keyCompromise"
    )
    new.refresh_from_db()
    assert new.revocation_reason == "keyCompromise"


def test_certificates_can_be_renewed_and_revoked_from_the_list_of_devices(
    portal: SignIn, tenant: Tenant
) -> None:
    certified, uncertified = DeviceFactory.create_batch(2, tenant=tenant)
    row, client = certificate(certified), portal()

    page = text(run_action(client, DEVICES, "renew_for_selected", certified, uncertified))
    assert "1 succeeded, 1 failed" in page
    page = text(ask(client, DEVICES, "revoke_for_selected", certified))
    assert "Key compromise" in page
    run_action(
        client, DEVICES, "revoke_for_selected", certified, confirmed="yes", reason="keyCompromise"
    )
    row.refresh_from_db()
    assert (row.status, row.successors.get().status) == ("revoked", "revoked")


@pytest.mark.parametrize("action", ["issue-certificate", "retire", "new-token"])
def test_the_buttons_of_a_device_page_require_a_confirmation(
    portal: SignIn, device: Device, action: str
) -> None:
    page = text(portal().get(f"{DEVICES}{device.pk}/{action}/"))

    assert device.name in page
    assert not DeviceCertificate.objects.exists()


@pytest.mark.parametrize("action", ["renew", "revoke"])
def test_the_buttons_of_a_certificate_page_require_a_confirmation(
    portal: SignIn, device: Device, action: str
) -> None:
    row = certificate(device)

    assert row.serial_number in text(portal().get(f"{CERTIFICATES}{row.pk}/{action}/"))


def test_a_device_page_shows_certificates_and_events(portal: SignIn, device: Device) -> None:
    row = certificate(device)

    client, page = portal(), f"{DEVICES}{device.pk}/change/"

    certificates = text(client.get(f"{page}?tab=certificates"))
    assert row.serial_number in certificates
    assert "certificate.issued" in text(client.get(f"{page}?tab=history"))


@pytest.mark.parametrize("tab", ["", "?tab=metrics", "?tab=alerts", "?tab=history", "?tab=other"])
def test_the_page_of_a_device_has_a_header_and_tabs(
    portal: SignIn, device: Device, tab: str
) -> None:
    page = text(portal(Role.VIEWER).get(f"{DEVICES}{device.pk}/change/{tab}"))

    assert "Never connected" in page
    assert "No screenshot yet" in page
    assert page.count('aria-current="page"') >= 1
    for label in ("Overview", "Metrics", "Alerts", "Configuration", "Updates", "Certificates"):
        assert f">{label}</a>" in page


def test_the_first_view_of_a_device_needs_few_queries(portal: SignIn, device: Device) -> None:
    client, page = portal(), f"{DEVICES}{device.pk}/change/"
    certificate(device)
    client.get(page)

    with CaptureQueriesContext(connection) as queries:
        response = client.get(page, headers={"Accept-Encoding": "gzip"})

    statements = [query["sql"] for query in queries if "set_config" not in query["sql"]]
    assert len(statements) <= 15, "\n".join(statements)
    assert len(response.content) < 150_000


@pytest.mark.parametrize("form", ["pem", "der", "chain"])
def test_a_certificate_can_be_downloaded(portal: SignIn, device: Device, form: str) -> None:
    row = certificate(device)

    response = portal(Role.VIEWER).get(f"{CERTIFICATES}{row.pk}/{form}/download/")

    assert row.serial_number in response["Content-Disposition"]
    if form == "der":
        found = [x509.load_der_x509_certificate(response.content)]
    else:
        found = x509.load_pem_x509_certificates(response.content)
    assert f"{found[0].serial_number:x}" == row.serial_number
    assert (len(found) > 1) == (form == "chain")
    assert portal().get(f"{CERTIFICATES}{row.pk}/pkcs12/download/").status_code == 404


def test_a_new_device_token_is_shown_once(portal: SignIn, device: Device) -> None:
    response = run_action(portal(), DEVICES, "new_token_for_selected", device)

    token = re.search(r"dev_[\w-]{43}", text(response))
    assert token is not None
    assert "no-store" in response["Cache-Control"]


def test_an_enrollment_token_is_shown_once_and_can_be_revoked(portal: SignIn) -> None:
    client = portal(Role.ADMIN)
    url = "/admin/devices/enrollmenttoken/"

    response = client.post(f"{url}add/", {"name": "hall", "max_uses": "3"})

    assert re.search(r"enr_[\w-]{43}", text(response))
    row = EnrollmentToken.every_tenant.get()
    assert row.max_uses == 3
    assert not re.search(r"enr_[\w-]{43}", text(client.get(url)))
    run_action(client, url, "revoke_selected", row)
    row.refresh_from_db()
    assert row.revoked_at is not None


def test_an_expiry_in_the_past_is_an_error_at_its_field(portal: SignIn) -> None:
    page = portal(Role.ADMIN).post(
        "/admin/devices/enrollmenttoken/add/",
        {"name": "hall", "expires_at_0": "2001-01-01", "expires_at_1": "00:00:00"},
    )

    assert "The expiry must be in the future" in text(page)
    assert not EnrollmentToken.every_tenant.exists()


def test_members_create_api_tokens_for_themselves_only(portal: SignIn, tenant: Tenant) -> None:
    other = MembershipFactory.create(tenant=tenant, role=Role.VIEWER)
    url = "/admin/tenants/apitoken/"
    client = portal(Role.VIEWER)

    page = client.post(f"{url}add/", {"membership": other.pk, "name": "mine"})

    assert re.search(r"usr_[\w-]{43}", text(page))
    token = ApiToken.every_tenant.get()
    assert token.membership != other
    assert "mine" in text(client.get(url))
    assert "mine" not in text(portal(Role.VIEWER).get(url))
    assert "mine" in text(portal(Role.ADMIN).get(url))


def test_a_superuser_without_a_membership_creates_no_api_token(superuser: Client) -> None:
    assert superuser.get("/admin/tenants/apitoken/add/").status_code == 403


@pytest.mark.parametrize(
    ("role", "url", "action"),
    [
        (Role.OPERATOR, "/admin/devices/device/", "quarantine_selected"),
        (Role.OPERATOR, "/admin/devices/device/", "retire_selected"),
        (Role.OPERATOR, "/admin/devices/device/", "new_token_for_selected"),
        (Role.OPERATOR, "/admin/devices/device/", "revoke_for_selected"),
    ],
)
def test_harmful_actions_ask_first_with_the_number_and_examples(
    portal: SignIn, tenant: Tenant, role: Role, url: str, action: str
) -> None:
    devices = [DeviceFactory.create(tenant=tenant, name=f"TV {number}") for number in range(25)]
    data = {"action": action, ACTION_CHECKBOX_NAME: [str(device.pk) for device in devices]}

    page = text(portal(role).post(url, data))

    assert "<strong>25 devices</strong>" in page
    assert "and 5 more" in page
    assert page.count("<li>TV ") == 20
    assert page.count(f'name="{ACTION_CHECKBOX_NAME}"') == 25
    names = {"device.quarantined", "device.retired", "device.token_issued"}
    assert not Event.every_tenant.filter(name__in=names).exists()


def test_a_superuser_can_add_a_tenant_with_its_owner_but_gets_no_token_of_the_owner(
    superuser: Client,
) -> None:
    page = superuser.post(
        "/admin/tenants/tenant/add/", {"slug": "acme", "name": "Acme", "owner": "boss@acme.test"}
    )

    assert "Password" in text(page)
    assert "usr_" not in text(page)
    assert not ApiToken.every_tenant.exists()
    assert Membership.every_tenant.get().role == Role.OWNER


def test_a_dead_delivery_can_be_retried(superuser: Client, tenant: Tenant) -> None:
    now = datetime.now(UTC)
    event = Event.every_tenant.create(tenant=tenant, name="x.happened", at=now, data={}, changes={})
    row = Delivery.objects.create(event=event, listener="x", due_at=now, dead_at=now, attempts=12)

    page = text(run_action(superuser, "/admin/events/delivery/", "try_again", row))

    assert "1 succeeded" in page
    row.refresh_from_db()
    assert (row.dead_at, row.attempts) == (None, 0)


def test_the_overview_of_an_empty_tenant_explains_what_is_missing(portal: SignIn) -> None:
    page = text(portal().get("/admin/", follow=True))

    assert "No devices yet" in page
    assert "There are no events yet" in page


@pytest.mark.parametrize("url", ["/admin/", DEVICES, CERTIFICATES, "/admin/events/event/"])
def test_the_number_of_queries_does_not_depend_on_the_number_of_rows(
    portal: SignIn, tenant: Tenant, url: str
) -> None:
    client, counts = portal(), []
    for _ in range(2):
        for device in DeviceFactory.create_batch(3, tenant=tenant):
            certificate(device)
        client.get(url)
        with CaptureQueriesContext(connection) as statements:
            text(client.get(url, follow=True))
        # The clock asks the database for its time now and then.
        counts.append(sum("clock_timestamp" not in row["sql"] for row in statements))

    assert counts[0] == counts[1]


def test_a_late_page_shows_its_rows_in_order_and_joins_only_them(
    portal: SignIn, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_pages, "JOINED_ROWS", 50)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(120):
        DeviceFactory.create(
            tenant=tenant, name=f"TV-{number:03}", registered_at=start + timedelta(hours=number)
        )
    pages = [re.findall(r"TV-\d{3}", text(portal().get(f"{DEVICES}?p={p}"))) for p in (1, 2, 3)]

    shown = [list(dict.fromkeys(names)) for names in pages]
    assert [name for names in shown for name in names] == [f"TV-{n:03}" for n in range(119, -1, -1)]
    with CaptureQueriesContext(connection) as captured:
        portal().get(f"{DEVICES}?p=3")
    late = [query["sql"] for query in captured if "OFFSET 100" in query["sql"]]
    assert late
    assert [sql for sql in late if "JOIN" in sql] == []


def test_lists_run_no_count_query(portal: SignIn, device: Device) -> None:
    client = portal()

    for url in (DEVICES, CERTIFICATES, "/admin/events/event/"):
        with CaptureQueriesContext(connection) as statements:
            client.get(url)
        assert not [row for row in statements if "COUNT(" in row["sql"]], url


def test_devices_can_be_searched_by_name(portal: SignIn, tenant: Tenant) -> None:
    DeviceFactory.create(tenant=tenant, name="Berlin lobby")
    DeviceFactory.create(tenant=tenant, name="Hall")

    page = text(portal().get(f"{DEVICES}?q=lobby"))

    assert "Berlin lobby" in page
    assert "Hall" not in page


def test_no_page_shows_the_hash_of_a_token(superuser: Client) -> None:
    row = EnrollmentTokenFactory.create(digest="f00d" * 16)

    page = superuser.get(f"/admin/devices/enrollmenttoken/{row.pk}/change/", follow=True)

    assert b"f00d" not in page.content


def test_every_model_of_the_portal_defines_who_may_see_it() -> None:
    superuser_only = {"User", "Delivery"}
    models = [
        model
        for model in admin.site._registry
        if model._meta.app_label in {"tenants", "events", "devices", "certificates"}
    ]

    assert len(models) > len(superuser_only)
    without_role = {model.__name__ for model in models if not hasattr(model, "view_role")}
    assert without_role == superuser_only


@pytest.mark.parametrize("query", ["model=%00", "status=%00", "q=%00"])
def test_an_invalid_filter_value_redirects(superuser: Client, query: str) -> None:
    assert superuser.get(f"{DEVICES}?{query}").status_code == 302


def test_an_action_on_an_invalid_id_redirects(superuser: Client) -> None:
    response = superuser.post(DEVICES, {"action": "retire_selected", ACTION_CHECKBOX_NAME: ["zz"]})

    assert response.status_code == 302


def test_an_invalid_tag_is_an_error_at_its_field(portal: SignIn) -> None:
    page = portal().post(f"{DEVICES}add/", {"serial_number": "SN-1", "tags": "x" * 65})

    assert "at most 64" in text(page)
    assert not Device.every_tenant.exists()


def test_simultaneous_requests_do_not_share_a_form(rf: Any, tenant: Tenant) -> None:
    """Each form creates a token of the request's user."""
    first = MembershipFactory.create(tenant=tenant, role=Role.OWNER)
    second = MembershipFactory.create(role=Role.OWNER)
    tokens_admin = admin.site._registry[ApiToken]
    forms: list[Any] = []
    for membership in (first, second):
        request = rf.get("/")
        request.user = membership.user
        with tenant_scope(membership.tenant_id):
            forms.append(tokens_admin.get_form(request))

    assert [form.membership for form in forms] == [first, second]


def test_a_device_can_be_quarantined_and_released_on_its_page(
    portal: SignIn, device: Device
) -> None:
    client, page = portal(), f"{DEVICES}{device.pk}/"

    assert client.get(f"{page}release/").status_code == 403
    assert "Put into quarantine" in text(client.get(f"{page}quarantine/"))
    run_action(client, DEVICES, "quarantine_selected", device)

    assert "In quarantine, <time" in text(client.get(f"{page}change/"))
    assert client.get(f"{page}quarantine/").status_code == 403
    assert "only if no other device uses its identifiers" in text(client.get(f"{page}release/"))
    run_action(client, DEVICES, "release_selected", device)
    device.refresh_from_db()
    assert device.quarantined_at is None


def test_devices_can_be_filtered_by_quarantine(portal: SignIn, device: Device) -> None:
    DeviceFactory.create(tenant=device.tenant, name="Trusted lobby")
    run_action(portal(), DEVICES, "quarantine_selected", device)

    page = text(portal().get(f"{DEVICES}?pending=quarantine"))

    assert device.name in page
    assert "Trusted lobby" not in page


def test_a_form_that_another_site_sends_is_refused(device: Device) -> None:
    client = Client(enforce_csrf_checks=True)
    user = MembershipFactory.create(tenant=device.tenant, role=Role.OWNER).user
    client.force_login(user)
    url = f"{DEVICES}{device.pk}/change/"

    response = client.post(url, {"name": "Taken over"}, HTTP_ORIGIN="https://example.com")

    assert response.status_code == 403
    device.refresh_from_db()
    assert device.name != "Taken over"


def test_a_list_shows_no_number_of_results_that_nobody_has_counted(
    portal: SignIn, tenant: Tenant
) -> None:
    DeviceFactory.create(tenant=tenant)

    for query in ("", "?status=offline"):
        assert "9999999999 results" not in text(portal().get(f"{DEVICES}{query}"))


def test_an_empty_tenant_has_a_checklist_until_its_steps_are_done(
    portal: SignIn, device: Device, now: datetime
) -> None:
    owner = portal(Role.OWNER)
    page = text(owner.get("/admin/", follow=True))
    assert "0 of 5 done" in page
    assert "/admin/devices/enrollmenttoken/add/" in page
    assert "First steps" not in text(portal(Role.VIEWER).get("/admin/", follow=True))

    Device.every_tenant.update(last_seen=now)
    certificate(device)
    EnrollmentTokenFactory.create(tenant=device.tenant)
    assert "4 of 5 done" in text(owner.get("/admin/", follow=True))  # others are members already
    ChannelFactory.create(tenant=device.tenant)

    assert "First steps" not in text(owner.get("/admin/", follow=True))


def test_a_page_that_does_not_exist_is_shown_with_the_menu(portal: SignIn) -> None:
    response = portal().get("/admin/no/such/page/")

    assert response.status_code == 404
    assert "This page does not exist" in response.content.decode()
    assert "Overview</a>" in response.content.decode()
    refused = portal(Role.VIEWER).get("/admin/devices/device/add/")
    assert refused.status_code == 403
    assert "Your role in this tenant does not permit it." in refused.content.decode()
