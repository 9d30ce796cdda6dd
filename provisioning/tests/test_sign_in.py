"""Who gets into the portal: limits, lock-out, second factor."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from django.core.management import call_command
from django.test import Client

from accounts.errors import FactorNotYours, TooManyCodes, WrongCode
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
    made: Membership = MembershipFactory.create(
        tenant=tenant, user=user, role=Role.OWNER
    )
    return made


def sign_in(client: Client, password: str = PASSWORD) -> Any:
    said = {"username": "owner@example.com", "password": password}
    return client.post(f"{LOGIN}?next=/admin/", said)


def code_of(user: User, at: datetime) -> str:
    row = SecondFactor.objects.get(user=user)
    key = bytes.fromhex(decrypt(row.secret, purpose=second_factor.PURPOSE))
    return TOTP(key, 6, SHA1(), 30).generate(int(at.timestamp())).decode()


def with_factor(user: User) -> list[str]:
    """Set up a while ago; the recovery codes."""
    then = datetime.now(UTC) - timedelta(hours=1)
    second_factor.begin(user, now=then)
    return second_factor.confirm(user, code_of(user, then), now=then)


def test_the_right_password_opens_the_portal(membership: Membership) -> None:
    client = Client()

    assert sign_in(client)["Location"] == "/admin/"
    assert client.get("/admin/").status_code == 200
    assert Event.every_tenant.named("person.signed_in").count() == 1


def test_five_wrong_passwords_lock_the_account_from_there(
    membership: Membership,
) -> None:
    codes = [sign_in(Client(), f"wrong-{number}").status_code for number in range(5)]
    right = sign_in(Client())

    assert codes == [200] * 4 + [429]
    assert right.status_code == 429
    assert "15 minutes" in right.content.decode()
    assert right["Retry-After"] == "900"


def test_the_case_of_the_address_opens_no_way_around_the_lock(
    membership: Membership,
) -> None:
    for spelled in ("Owner@example.com", "OWNER@example.com", " owner@example.com"):
        for _ in range(2):
            Client().post(LOGIN, {"username": spelled, "password": "wrong"})

    assert sign_in(Client()).status_code == 429


def test_a_lock_at_one_address_leaves_the_owner_at_another_in_peace(
    membership: Membership,
) -> None:
    for _ in range(5):
        Client(REMOTE_ADDR="203.0.113.9").post(
            LOGIN, {"username": "owner@example.com", "password": "wrong"}
        )

    assert sign_in(Client(REMOTE_ADDR="198.51.100.1")).status_code == 302


def test_one_address_tries_many_accounts_only_so_often(rates: Any) -> None:
    rates["sign_in"] = Rate(3, 300)
    client = Client(REMOTE_ADDR=f"203.0.113.{datetime.now(UTC).second}")

    codes = [
        client.post(LOGIN, {"username": f"{n}@example.com", "password": "x"})
        for n in range(4)
    ]

    assert [answer.status_code for answer in codes] == [200, 200, 200, 429]


def test_a_second_factor_is_set_up_with_a_qr_code_and_gives_recovery_codes(
    membership: Membership,
) -> None:
    client = Client()
    sign_in(client)

    page = client.get(SET_UP).content.decode()
    code = code_of(membership.user, datetime.now(UTC))
    done = client.post(SET_UP, {"code": code}).content.decode()

    assert "data:image/svg+xml" in page
    assert len(re.findall(r"<code>[2-9A-Z]{12}</code>", done)) == 10
    assert client.get("/admin/").status_code == 200
    assert second_factor.is_in_use(membership.user)


def test_with_a_second_factor_the_password_alone_opens_nothing(
    membership: Membership,
) -> None:
    with_factor(membership.user)
    client = Client()
    sign_in(client)

    for path in (
        "/admin/",
        "/admin/devices/device/",
        SET_UP,
        "/admin/password_change/",
    ):
        assert client.get(path)["Location"] == "/admin/second-factor/"
    asked = client.post("/admin/second-factor/", {"code": "000000"})
    assert "not right" in asked.content.decode()
    code = code_of(membership.user, datetime.now(UTC))
    assert client.post("/admin/second-factor/", {"code": code})["Location"] == "/admin/"
    assert client.get("/admin/").status_code == 200


def test_a_session_that_has_shown_another_factor_has_shown_nothing(
    membership: Membership,
) -> None:
    client = Client()
    sign_in(client)
    client.post(SET_UP, {"code": code_of_setup(client, membership.user)})
    assert client.get("/admin/").status_code == 200

    second_factor.remove(membership.user, now=datetime.now(UTC))
    with_factor(membership.user)

    assert client.get("/admin/")["Location"] == "/admin/second-factor/"


def test_who_removes_a_required_factor_has_to_set_one_up_again(
    membership: Membership,
) -> None:
    codes = with_factor(membership.user)
    Tenant.objects.filter(pk=membership.tenant.pk).update(requires_second_factor=True)
    client = Client()
    sign_in(client)
    client.post("/admin/second-factor/", {"code": codes[0]})
    assert client.get("/admin/devices/device/").status_code == 200

    client.post(SET_UP, {"code": codes[1]})

    assert client.get("/admin/devices/device/")["Location"] == SET_UP


def test_a_secret_that_was_seen_and_not_used_is_not_good_for_long(
    now: datetime,
) -> None:
    user = UserFactory.create()
    seen = second_factor.begin(user, now=now)

    soon = second_factor.begin(user, now=now + timedelta(minutes=1))
    later = second_factor.begin(user, now=now + timedelta(minutes=11))

    assert soon.secret == seen.secret
    assert later.secret != seen.secret


def test_a_code_counts_once(membership: Membership) -> None:
    with_factor(membership.user)
    now = datetime.now(UTC)
    code = code_of(membership.user, now)

    second_factor.verify(membership.user, code, now=now)

    with pytest.raises(WrongCode):
        second_factor.verify(membership.user, code, now=now)


def test_a_recovery_code_counts_once(membership: Membership) -> None:
    codes = with_factor(membership.user)
    now = datetime.now(UTC)

    second_factor.verify(membership.user, codes[3].lower(), now=now)

    with pytest.raises(WrongCode):
        second_factor.verify(membership.user, codes[3], now=now)


def test_codes_are_tried_only_so_often(membership: Membership, rates: Any) -> None:
    with_factor(membership.user)
    rates["second_factor"] = Rate(2, 300)
    now = datetime.now(UTC)

    for _ in range(2):
        with pytest.raises(WrongCode):
            second_factor.verify(membership.user, "000000", now=now)
    with pytest.raises(TooManyCodes):
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
    changed = Event.every_tenant.named("tenant.updated").get()
    assert changed.changes == {"requires_second_factor": [False, True]}


def code_of_setup(client: Client, user: User) -> str:
    client.get(SET_UP)
    return code_of(user, datetime.now(UTC))


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.ADMIN])
def test_only_an_owner_changes_what_the_tenant_requires(
    tenant: Tenant, role: Role
) -> None:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=role).user)

    client.post(
        f"/admin/tenants/tenant/{tenant.pk}/change/",
        {"name": "Taken", "requires_second_factor": "on"},
    )

    tenant.refresh_from_db()
    assert tenant.name != "Taken"
    assert not tenant.requires_second_factor


def test_a_member_never_sees_another_tenant_on_that_page(
    membership: Membership,
) -> None:
    strangers = MembershipFactory.create().tenant
    client = Client()
    client.force_login(membership.user)

    listed = client.get("/admin/tenants/tenant/").content.decode()

    assert membership.tenant.name in listed
    assert strangers.name not in listed.replace(membership.tenant.name, "")
    page = f"/admin/tenants/tenant/{strangers.pk}/change/"
    assert client.get(page).status_code == 302


def test_who_lost_the_telephone_is_let_in_by_their_only_tenants_admin(
    membership: Membership,
) -> None:
    lost = MembershipFactory.create(tenant=membership.tenant)
    with_factor(lost.user)

    with tenant_scope(membership.tenant_id):
        assert second_factor.remove_for(lost, now=datetime.now(UTC))

    with_factor(lost.user)
    MembershipFactory.create(user=lost.user)
    with tenant_scope(membership.tenant_id), pytest.raises(FactorNotYours):
        second_factor.remove_for(lost, now=datetime.now(UTC))
    call_command("remove_second_factor", lost.user.email)
    assert not second_factor.is_in_use(lost.user)


def test_the_secret_is_encrypted_and_the_codes_are_hashed_at_rest() -> None:
    user = UserFactory.create()
    now = datetime.now(UTC)
    setup = second_factor.begin(user, now=now)
    codes = second_factor.confirm(user, code_of(user, now), now=now)

    row = SecondFactor.objects.get(user=user)

    assert setup.secret not in row.secret
    assert not set(codes) & set(row.recovery_digests)


def test_a_new_secret_key_leaves_second_factors_usable(
    membership: Membership, settings: Any
) -> None:
    with_factor(membership.user)
    old, settings.SECRET_KEY = settings.SECRET_KEY, "another long and random one"
    settings.SECRET_KEY_FALLBACKS = [old]
    now = datetime.now(UTC)
    second_factor.verify(membership.user, code_of(membership.user, now), now=now)

    call_command("reencrypt_secrets")

    settings.SECRET_KEY_FALLBACKS = []
    later = now + timedelta(minutes=1)
    second_factor.verify(membership.user, code_of(membership.user, later), now=later)


@pytest.mark.parametrize(
    ("path", "allows"),
    [
        ("/admin/login/", "script-src 'self' 'unsafe-eval'"),
        ("/docs", "script-src 'self'"),
    ],
)
def test_pages_run_our_scripts_only(path: str, allows: str) -> None:
    policy = Client().get(path)["Content-Security-Policy"]

    assert policy.endswith(allows)
    assert "frame-ancestors 'none'" in policy


def test_the_api_is_no_page() -> None:
    answer = Client().get("/devices")

    assert answer["Content-Security-Policy"].startswith("default-src 'none'")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] == "same-origin"
