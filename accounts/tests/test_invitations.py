"""Invitations: a person becomes a member only by their own consent."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from accounts.models import Invitation
from accounts.services import invitations
from events.models import Event
from events.services import delivery
from events.tests.mail_server import mail_server
from tenants.context import tenant_scope
from tenants.models import Membership, Role, Tenant, User
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db
ADD = "/admin/accounts/invitation/add/"
PASSWORD = "a-long-and-good-one"
NEW = {"name": "New Person", "password": PASSWORD, "again": PASSWORD}


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def admin(tenant: Tenant) -> Client:
    return signed_in(MembershipFactory.create(tenant=tenant, role=Role.ADMIN).user)


def invite(admin: Client, email: str, role: str = "viewer") -> str:
    """Invite a person in the portal. Return the path of the link that the page shows."""
    slug = Tenant.objects.get(pk=tenant_of(admin)).slug
    page = admin.post(f"/t/{slug}{ADD}", {"email": email, "role": role}).content.decode()
    match = re.search(r"http://localhost:8000(/admin/invitation/[\w-]{43}/)", page)
    assert match is not None, page
    return match[1]


def tenant_of(client: Client) -> Any:
    """Return the id of the only tenant of the signed-in user."""
    user_id = client.session["_auth_user_id"]
    return Membership.every_tenant.get(user_id=user_id).tenant_id


def is_member(email: str, tenant: Tenant) -> bool:
    return Membership.every_tenant.filter(user__email=email, tenant=tenant).exists()


def test_an_invited_person_is_no_member_until_the_account_is_created_by_the_link(
    admin: Client, tenant: Tenant
) -> None:
    link = invite(admin, "new@example.com", "operator")
    assert not User.objects.filter(email="new@example.com").exists()

    response = Client().post(link, NEW)

    assert response["Location"].startswith("/admin/login/?next=")
    membership = Membership.every_tenant.get(user__email="new@example.com")
    assert (membership.tenant, membership.role) == (tenant, "operator")
    assert membership.user.check_password(PASSWORD)
    assert not membership.user.address_proved
    client = Client()
    signing_in = client.post(
        response["Location"], {"username": "new@example.com", "password": PASSWORD, "next": link}
    )
    assert signing_in["Location"] == link
    assert client.get(link)["Location"] == f"/t/{tenant.slug}/admin/"
    assert client.get(f"/t/{tenant.slug}/admin/devices/device/").status_code == 200


def test_a_link_works_once_and_expires(admin: Client, tenant: Tenant) -> None:
    used, expired = invite(admin, "a@example.com"), invite(admin, "b@example.com")
    Client().post(used, NEW)
    past = datetime.now(UTC) - timedelta(seconds=1)
    Invitation.every_tenant.filter(email="b@example.com").update(expires_at=past)

    for link in (used, expired, "/admin/invitation/never-existed/"):
        assert Client().get(link).status_code == 410
        assert Client().post(link, NEW).status_code == 410
    assert not is_member("b@example.com", tenant)


def test_only_the_digest_of_a_link_is_stored(admin: Client) -> None:
    token = invite(admin, "new@example.com").split("/")[3]

    assert token not in str(list(Invitation.every_tenant.values()))
    assert token not in str(list(Event.every_tenant.values()))


def test_an_existing_account_joins_only_after_its_own_sign_in_and_consent(
    admin: Client, tenant: Tenant
) -> None:
    user = MembershipFactory.create().user
    link = invite(admin, user.email)

    Client().post(link, NEW)
    assert not is_member(user.email, tenant)
    user.refresh_from_db()
    assert not user.check_password(PASSWORD)
    client = signed_in(user)
    assert f"Join {tenant.name}" in client.get(link).content.decode()
    assert not is_member(user.email, tenant)
    client.post(link, {"accept": "yes"})

    assert is_member(user.email, tenant)


def test_no_page_says_whether_an_address_has_an_account_elsewhere(admin: Client) -> None:
    existing = MembershipFactory.create().user.email
    texts = []
    for email in ("new@example.com", existing):
        page = admin.post(ADD, {"email": email, "role": "viewer"})
        link = re.search(r"/admin/invitation/[\w-]{43}/", page.content.decode())
        assert link is not None
        client = Client()
        opened, created = client.get(link[0]), client.post(link[0], NEW)
        login = client.get(created["Location"])
        shown = [page, opened, created, login]
        text = " ".join(f"{each.status_code} {each.content.decode()}" for each in shown)
        text = re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", text)
        texts.append(text.replace(link[0].split("/")[3], "TOKEN").replace(email, "ADDRESS"))

    assert texts[0] == texts[1]


def test_a_person_can_decline(admin: Client, tenant: Tenant) -> None:
    user = MembershipFactory.create().user
    link = invite(admin, user.email)

    signed_in(user).post(link, {"decline": "yes"})

    assert not is_member(user.email, tenant)
    assert Invitation.every_tenant.get().end == "declined"
    assert Client().get(link).status_code == 410


def test_another_user_cannot_accept(admin: Client, tenant: Tenant) -> None:
    link = invite(admin, "new@example.com")
    other = MembershipFactory.create().user

    page = signed_in(other).get(link).content.decode()
    response = signed_in(other).post(link, {"accept": "yes"})

    assert "for another e-mail address" in page
    assert response.status_code == 410
    assert not is_member(other.email, tenant)


def test_an_account_whose_address_is_not_proved_is_bound_to_its_tenant(
    admin: Client, tenant: Tenant
) -> None:
    Client().post(invite(admin, "new@example.com"), NEW)
    user = User.objects.get(email="new@example.com")
    other: Tenant = TenantFactory.create()
    other_admin = signed_in(MembershipFactory.create(tenant=other, role=Role.ADMIN).user)

    page = signed_in(user).post(invite(other_admin, user.email), {"accept": "yes"})

    assert "Prove first" in page.content.decode()
    assert not is_member(user.email, other)


def test_a_mailed_link_proves_the_address(admin: Client, tenant: Tenant) -> None:
    with mail_server() as mailbox:
        page = admin.post(ADD, {"email": "new@example.com", "role": "viewer"}, follow=True)
        assert "/admin/invitation/" not in page.content.decode()
        while delivery.deliver(now=datetime.now(UTC)):
            pass

    [text] = mailbox.texts
    assert "To: new@example.com" in text
    link = re.search(r"/admin/invitation/[\w-]{43}/", text.replace("=\r\n", "").replace("=3D", "="))
    assert link is not None
    assert Invitation.every_tenant.get().encrypted_token == ""
    Client().post(link[0], NEW)
    assert User.objects.get(email="new@example.com").address_proved
    assert is_member("new@example.com", tenant)


def test_a_second_invitation_replaces_the_first(admin: Client) -> None:
    first = invite(admin, "new@example.com")
    second = invite(admin, "new@example.com")

    assert Client().get(first).status_code == 410
    assert Client().get(second).status_code == 200


def test_an_invitation_can_be_withdrawn(admin: Client) -> None:
    link = invite(admin, "new@example.com")
    row = Invitation.every_tenant.get()
    data = {"action": "withdraw_selected", "_selected_action": [str(row.pk)], "confirmed": "yes"}

    admin.post("/admin/accounts/invitation/", data)

    assert Client().get(link).status_code == 410


@pytest.mark.parametrize(
    ("email", "role", "message"),
    [
        ("nonsense", "viewer", "valid email"),
        ("new@example.com", "owner", "Only an owner can invite another owner"),
    ],
)
def test_an_invitation_that_cannot_be_sent_is_an_error(
    admin: Client, email: str, role: str, message: str
) -> None:
    page = admin.post(ADD, {"email": email, "role": role}).content.decode()

    assert message in page
    assert not Invitation.every_tenant.exists()


def test_a_member_cannot_be_invited_again(admin: Client, tenant: Tenant) -> None:
    member = MembershipFactory.create(tenant=tenant).user

    page = admin.post(ADD, {"email": member.email, "role": "viewer"}).content.decode()

    assert "is already a member" in page


def test_a_weak_password_is_an_error(admin: Client) -> None:
    link = invite(admin, "new@example.com")

    page = Client().post(link, {"name": "N", "password": "short", "again": "short"})

    assert "at least 12 characters" in page.content.decode()
    assert not User.objects.filter(email="new@example.com").exists()


def test_the_tokens_of_waiting_mails_are_reencrypted(tenant: Tenant, settings: Any) -> None:
    settings.EMAIL_HOST = "127.0.0.1"
    with tenant_scope(tenant.pk):
        new = invitations.invite(
            email="a@b.test", role=Role.VIEWER, by=None, by_role=Role.OWNER, now=datetime.now(UTC)
        )
    before = new.invitation.encrypted_token

    call_command("reencrypt_secrets")

    new.invitation.refresh_from_db()
    assert new.invitation.encrypted_token not in ("", before)
