"""Signing in to the portal: rate limits, account lock-out, second factor."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from django.core.management import call_command
from django.test import Client

from accounts.errors import SecondFactorRefused, TooManyAttempts, WrongCode
from accounts.services import second_factor
from core.encryption import decrypt
from core.limits import Rate
from events.models import Event
from tenants.context import tenant_scope
from tenants.models import Membership, Role, SecondFactor, Tenant, User
from tenants.tests.factories import MembershipFactory, UserFactory

pytestmark = pytest.mark.django_db
LOGIN = "/admin/login/"
SET_UP = "/admin/second-factor/set-up/"
PASSWORD = "a-long-and-good-one"


@pytest.fixture(autouse=True)
def rates(settings: Any) -> Any:
    settings.RATES = dict(settings.RATES, second_factor=None)
    return settings.RATES


@pytest.fixture
def membership(tenant: Tenant) -> Membership:
    user = User.objects.create_user("owner@example.com", PASSWORD)
    membership: Membership = MembershipFactory.create(tenant=tenant, user=user, role=Role.OWNER)
    return membership


def sign_in(client: Client, password: str = PASSWORD) -> Any:
    fields = {"username": "owner@example.com", "password": password}
    return client.post(f"{LOGIN}?next=/admin/", fields)


def code_of(user: User, at: datetime) -> str:
    row = SecondFactor.objects.get(user=user)
    key = bytes.fromhex(decrypt(row.secret, purpose=second_factor.PURPOSE))
    return TOTP(key, 6, SHA1(), 30).generate(int(at.timestamp())).decode()


def set_up_factor(user: User) -> list[str]:
    """Set up a second factor, dated one hour ago. Return the recovery codes."""
    past = datetime.now(UTC) - timedelta(hours=1)
    second_factor.begin_setup(user, now=past)
    return second_factor.confirm(user, code_of(user, past), now=past)


def test_a_member_signs_in_with_the_correct_password(membership: Membership) -> None:
    client = Client()

    assert sign_in(client)["Location"] == "/admin/"
    assert client.get("/admin/", follow=True).status_code == 200
    assert Event.every_tenant.named("person.signed_in").count() == 1


def test_five_wrong_passwords_lock_the_account_for_the_address(membership: Membership) -> None:
    statuses = [sign_in(Client(), f"wrong-{number}").status_code for number in range(5)]
    response = sign_in(Client())

    assert statuses == [200] * 4 + [429]
    assert response.status_code == 429
    assert "15 minutes" in response.content.decode()
    assert response["Retry-After"] == "900"


def test_the_account_lock_ignores_the_spelling_of_the_email_address(membership: Membership) -> None:
    for email in ("Owner@example.com", "OWNER@example.com", " owner@example.com"):
        for _ in range(2):
            Client().post(LOGIN, {"username": email, "password": "wrong"})

    assert sign_in(Client()).status_code == 429


def test_an_account_locked_for_one_address_can_sign_in_from_another(membership: Membership) -> None:
    for _ in range(5):
        Client(REMOTE_ADDR="203.0.113.9").post(
            LOGIN, {"username": "owner@example.com", "password": "wrong"}
        )

    assert sign_in(Client(REMOTE_ADDR="198.51.100.1")).status_code == 302


def test_sign_in_attempts_of_one_address_are_rate_limited(rates: Any) -> None:
    rates["sign_in"] = Rate(3, 300)
    client = Client(REMOTE_ADDR=f"203.0.113.{datetime.now(UTC).second}")

    responses = [
        client.post(LOGIN, {"username": f"{n}@example.com", "password": "x"}) for n in range(4)
    ]

    assert [response.status_code for response in responses] == [200, 200, 200, 429]


def test_setting_up_a_second_factor_shows_a_qr_code_and_recovery_codes(
    membership: Membership,
) -> None:
    client = Client()
    sign_in(client)

    page = client.get(SET_UP).content.decode()
    code = code_of(membership.user, datetime.now(UTC))
    codes_page = client.post(SET_UP, {"code": code}).content.decode()

    assert "data:image/svg+xml" in page
    assert len(re.findall(r"<code>[2-9A-Z]{12}</code>", codes_page)) == 10
    assert client.get("/admin/", follow=True).status_code == 200
    assert second_factor.is_active(membership.user)


def test_a_second_factor_is_required_after_the_password(membership: Membership) -> None:
    set_up_factor(membership.user)
    client = Client()
    sign_in(client)

    for path in ("/admin/", "/admin/devices/device/", SET_UP, "/admin/password_change/"):
        assert client.get(path)["Location"] == "/admin/second-factor/"
    response = client.post("/admin/second-factor/", {"code": "000000"})
    assert "code is wrong" in response.content.decode()
    code = code_of(membership.user, datetime.now(UTC))
    assert client.post("/admin/second-factor/", {"code": code})["Location"] == "/admin/"
    assert client.get("/admin/", follow=True).status_code == 200


def test_superusers_need_a_second_factor_where_the_portal_uses_https(settings: Any) -> None:
    user = User.objects.create_superuser("root@example.com", PASSWORD)
    client = Client()
    client.force_login(user)
    assert client.get("/admin/devices/device/").status_code == 200

    settings.SESSION_COOKIE_SECURE = True  # as with PUBLIC_URL=https://…

    assert client.get("/admin/devices/device/")["Location"] == SET_UP
    client.post(SET_UP, {"code": code_of_setup(client, user)})
    assert client.get("/admin/devices/device/").status_code == 200


def test_replacing_the_second_factor_requires_a_new_code_in_every_session(
    membership: Membership,
) -> None:
    client = Client()
    sign_in(client)
    client.post(SET_UP, {"code": code_of_setup(client, membership.user)})
    assert client.get("/admin/", follow=True).status_code == 200

    second_factor.remove(membership.user, now=datetime.now(UTC))
    set_up_factor(membership.user)

    assert client.get("/admin/")["Location"] == "/admin/second-factor/"


def test_a_removed_factor_must_be_set_up_again_if_the_tenant_requires_one(
    membership: Membership,
) -> None:
    codes = set_up_factor(membership.user)
    Tenant.objects.filter(pk=membership.tenant.pk).update(requires_second_factor=True)
    client = Client()
    sign_in(client)
    client.post("/admin/second-factor/", {"code": codes[0]})
    assert client.get("/admin/devices/device/").status_code == 200

    client.post(SET_UP, {"code": codes[1]})

    assert client.get("/admin/devices/device/")["Location"] == SET_UP


def test_an_unconfirmed_secret_expires(now: datetime) -> None:
    user = UserFactory.create()
    setup = second_factor.begin_setup(user, now=now)

    soon = second_factor.begin_setup(user, now=now + timedelta(minutes=1))
    later = second_factor.begin_setup(user, now=now + timedelta(minutes=11))

    assert soon.secret == setup.secret
    assert later.secret != setup.secret


def test_a_code_is_accepted_only_once(membership: Membership) -> None:
    set_up_factor(membership.user)
    now = datetime.now(UTC)
    code = code_of(membership.user, now)

    second_factor.verify(membership.user, code, now=now)

    with pytest.raises(WrongCode):
        second_factor.verify(membership.user, code, now=now)


def test_a_recovery_code_is_accepted_only_once(membership: Membership) -> None:
    codes = set_up_factor(membership.user)
    now = datetime.now(UTC)

    second_factor.verify(membership.user, codes[3].lower(), now=now)

    with pytest.raises(WrongCode):
        second_factor.verify(membership.user, codes[3], now=now)


def test_attempts_with_codes_are_rate_limited(membership: Membership, rates: Any) -> None:
    set_up_factor(membership.user)
    rates["second_factor"] = Rate(2, 300)
    now = datetime.now(UTC)

    for _ in range(2):
        with pytest.raises(WrongCode):
            second_factor.verify(membership.user, "000000", now=now)
    with pytest.raises(TooManyAttempts):
        second_factor.verify(membership.user, code_of(membership.user, now), now=now)


def test_a_tenant_can_require_a_second_factor(membership: Membership) -> None:
    client = Client()
    sign_in(client)
    tenant = membership.tenant
    page = f"/admin/tenants/tenant/{tenant.pk}/change/"

    client.post(page, {"name": tenant.name, "requires_second_factor": "on"})

    assert client.get("/admin/devices/device/")["Location"] == SET_UP
    client.post(SET_UP, {"code": code_of_setup(client, membership.user)})
    assert client.get("/admin/devices/device/").status_code == 200
    event = Event.every_tenant.named("tenant.updated").get()
    assert event.changes == {"requires_second_factor": [False, True]}


def code_of_setup(client: Client, user: User) -> str:
    client.get(SET_UP)
    return code_of(user, datetime.now(UTC))


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.ADMIN])
def test_only_an_owner_can_change_the_tenant(tenant: Tenant, role: Role) -> None:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=role).user)

    client.post(
        f"/admin/tenants/tenant/{tenant.pk}/change/",
        {"name": "Changed", "requires_second_factor": "on"},
    )

    tenant.refresh_from_db()
    assert tenant.name != "Changed"
    assert not tenant.requires_second_factor


def test_a_member_cannot_see_another_tenant(membership: Membership) -> None:
    other_tenant = MembershipFactory.create().tenant
    client = Client()
    client.force_login(membership.user)

    page = client.get("/admin/tenants/tenant/").content.decode()

    assert membership.tenant.name in page
    assert other_tenant.name not in page.replace(membership.tenant.name, "")
    url = f"/admin/tenants/tenant/{other_tenant.pk}/change/"
    assert client.get(url).status_code == 302


def test_a_tenant_can_remove_the_factor_of_members_without_another_tenant(
    membership: Membership,
) -> None:
    member = MembershipFactory.create(tenant=membership.tenant)
    set_up_factor(member.user)

    with tenant_scope(membership.tenant_id):
        assert second_factor.remove_for(member, now=datetime.now(UTC))

    set_up_factor(member.user)
    MembershipFactory.create(user=member.user)
    with tenant_scope(membership.tenant_id), pytest.raises(SecondFactorRefused):
        second_factor.remove_for(member, now=datetime.now(UTC))
    call_command("remove_second_factor", member.user.email)
    assert not second_factor.is_active(member.user)


def test_the_secret_is_encrypted_and_the_codes_are_hashed_at_rest() -> None:
    user = UserFactory.create()
    now = datetime.now(UTC)
    setup = second_factor.begin_setup(user, now=now)
    codes = second_factor.confirm(user, code_of(user, now), now=now)

    row = SecondFactor.objects.get(user=user)

    assert setup.secret not in row.secret
    assert not set(codes) & set(row.recovery_digests)


def test_second_factors_stay_usable_after_the_secret_key_was_replaced(
    membership: Membership, settings: Any
) -> None:
    set_up_factor(membership.user)
    old_key, settings.SECRET_KEY = settings.SECRET_KEY, "another long and random one"
    settings.SECRET_KEY_FALLBACKS = [old_key]
    now = datetime.now(UTC)
    second_factor.verify(membership.user, code_of(membership.user, now), now=now)

    call_command("reencrypt_secrets")

    settings.SECRET_KEY_FALLBACKS = []
    later = now + timedelta(minutes=1)
    second_factor.verify(membership.user, code_of(membership.user, later), now=later)


@pytest.mark.parametrize(
    ("path", "script_policy"),
    [("/admin/login/", "script-src 'self' 'unsafe-eval'"), ("/docs", "script-src 'self'")],
)
def test_pages_only_run_scripts_of_this_server(path: str, script_policy: str) -> None:
    policy = Client().get(path)["Content-Security-Policy"]

    assert policy.endswith(script_policy)
    assert "frame-ancestors 'none'" in policy


def test_api_responses_have_security_headers() -> None:
    response = Client().get("/devices")

    assert response["Content-Security-Policy"].startswith("default-src 'none'")
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Referrer-Policy"] == "same-origin"
