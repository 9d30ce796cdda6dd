"""Sign-in with OpenID Connect, with a local provider."""

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from django.test import Client
from django.utils import timezone

from accounts.errors import InvalidProvider
from accounts.models import SignInIdentity, SignInProvider
from accounts.services import single_sign_on
from core import clock
from core.encryption import decrypt
from devices.registry.tests.waiting import wait_until
from events.models import Event
from provisioning.tests.running import free_ports
from tenants.context import tenant_scope
from tenants.models import Membership, Role, Tenant, User
from tenants.tests.factories import MembershipFactory, UserFactory

pytestmark = pytest.mark.django_db
ADA = {"email": "ada@example.com", "name": "Ada", "email_verified": True}


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """A provider of its own, in another process."""
    (port,) = free_ports(1)
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(url))
        yield url
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/.well-known/openid-configuration").is_success
    except httpx.HTTPError:
        return False


@pytest.fixture(autouse=True)
def local_provider(settings: Any) -> None:
    from ipaddress import ip_network

    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    settings.RATES = dict(settings.RATES, sign_in=None)


@pytest.fixture
def provider(tenant: Tenant, issuer: str) -> SignInProvider:
    return configure(tenant, issuer)


def configure(tenant: Tenant, issuer: str, **fields: Any) -> SignInProvider:
    values = {
        "issuer": issuer,
        "client_id": "portal",
        "client_secret": "a secret",
        "domains": ["example.com"],
        "default_role": "operator",
        "is_enabled": True,
    }
    with tenant_scope(tenant.pk):
        return single_sign_on.configure(**{**values, **fields}, now=timezone.now())


def answer_of_provider(
    client: Client, tenant: Tenant, issuer: str, subject: str, claims: Any
) -> str:
    """Go to the provider, sign in there, and return the address to which it sends the browser."""
    httpx.put(f"{issuer}/users/{subject}", json=claims).raise_for_status()
    way = client.get(f"/t/{tenant.slug}/admin/sso/")
    assert way.status_code == 302, way.content.decode()
    answer = httpx.post(way["Location"], data={"sub": subject})
    assert answer.status_code == 302, answer.text
    address = urlsplit(answer.headers["Location"])
    return f"{address.path}?{address.query}"


def sign_in(
    client: Client, tenant: Tenant, issuer: str, subject: str = "1", claims: Any = ADA
) -> Any:
    return client.get(answer_of_provider(client, tenant, issuer, subject, claims))


def home(tenant: Tenant) -> str:
    return f"/t/{tenant.slug}/admin/"


def text(response: Any) -> str:
    page: str = response.content.decode()
    return page


def test_a_new_person_becomes_a_member_with_the_default_role(
    tenant: Tenant, issuer: str, provider: SignInProvider
) -> None:
    client = Client()

    response = sign_in(client, tenant, issuer)

    assert response["Location"] == home(tenant)
    assert client.get(home(tenant)).status_code == 200
    membership = Membership.every_tenant.get(tenant=tenant)
    assert (membership.user.email, membership.user.name) == ("ada@example.com", "Ada")
    assert membership.role == Role.OPERATOR
    assert not membership.user.has_usable_password()
    assert Event.every_tenant.named("member.added").count() == 1


def test_a_member_signs_in_again_by_the_subject_even_with_another_address(
    tenant: Tenant, issuer: str, provider: SignInProvider
) -> None:
    sign_in(Client(), tenant, issuer)
    client = Client()

    sign_in(client, tenant, issuer, claims={**ADA, "email": "lovelace@example.com"})

    assert client.get(home(tenant)).status_code == 200
    assert User.objects.count() == 1


def test_an_existing_member_keeps_the_role(
    tenant: Tenant, issuer: str, provider: SignInProvider
) -> None:
    user = UserFactory.create(email="ada@example.com")
    MembershipFactory.create(tenant=tenant, user=user, role=Role.VIEWER)

    sign_in(Client(), tenant, issuer)

    assert Membership.every_tenant.get(tenant=tenant).role == Role.VIEWER
    assert SignInIdentity.every_tenant.get().user == user


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        ({**ADA, "email": "ada@elsewhere.com"}, "may not sign in to this tenant"),
        ({**ADA, "email": "ada@sub.example.com"}, "may not sign in to this tenant"),
        ({**ADA, "email_verified": False}, "may not sign in to this tenant"),
        ({"name": "Nobody"}, "may not sign in to this tenant"),
    ],
)
def test_other_addresses_are_refused(
    tenant: Tenant, issuer: str, provider: SignInProvider, claims: Any, sentence: str
) -> None:
    response = sign_in(Client(), tenant, issuer, "2", claims)

    assert response.status_code == 403
    assert sentence in text(response)
    assert not User.objects.exists()


def test_without_a_default_role_only_members_sign_in(tenant: Tenant, issuer: str) -> None:
    configure(tenant, issuer, default_role="")

    assert "no member of this tenant" in text(sign_in(Client(), tenant, issuer, "3"))
    MembershipFactory.create(tenant=tenant, user=UserFactory.create(email="ada@example.com"))
    assert sign_in(Client(), tenant, issuer, "3").status_code == 302


def test_an_account_of_another_tenant_is_never_made_a_member(
    tenant: Tenant, issuer: str, provider: SignInProvider
) -> None:
    other = MembershipFactory.create(user=UserFactory.create(email="ada@example.com"))

    assert "Ask an admin" in text(sign_in(Client(), tenant, issuer, "4"))
    assert list(Membership.every_tenant.all()) == [other]


class TestASessionOfOneTenant:
    @pytest.fixture
    def client(self, tenant: Tenant, issuer: str, provider: SignInProvider) -> Client:
        """A member of two tenants, whom the provider of the first one has authenticated."""
        user = User.objects.create_user("ada@example.com", "a-long-and-good-one")
        MembershipFactory.create(tenant=tenant, user=user)
        MembershipFactory.create(user=user, tenant__slug="other")
        client = Client()
        sign_in(client, tenant, issuer)
        return client

    def test_it_does_not_see_the_other_tenants_of_the_user(
        self, client: Client, tenant: Tenant
    ) -> None:
        assert client.get(home(tenant)).status_code == 200
        assert client.get("/t/other/admin/").status_code == 404
        assert "other" not in text(client.get(home(tenant)))

    @pytest.mark.parametrize(
        "page", ["password_change/", "second-factor/set-up/", "sessions/", "invitation/x/"]
    )
    def test_it_changes_nothing_of_the_account(
        self, client: Client, tenant: Tenant, page: str
    ) -> None:
        response = client.get(f"{home(tenant)}{page}")

        assert response["Location"] == home(tenant)

    def test_it_ends_when_single_sign_on_is_switched_off(
        self, client: Client, tenant: Tenant, issuer: str
    ) -> None:
        configure(tenant, issuer, is_enabled=False)

        assert "login" in client.get(home(tenant))["Location"]

    def test_it_ends_with_the_membership(self, client: Client, tenant: Tenant) -> None:
        Membership.every_tenant.filter(tenant=tenant).delete()

        assert client.get(home(tenant)).status_code in (302, 404)
        assert client.get("/t/other/admin/").status_code in (302, 404)

    def test_it_does_not_rename_the_account(self, client: Client, tenant: Tenant) -> None:
        client.post(f"{home(tenant)}account/", {"name": "Mallory", "time_zone": "Asia/Tokyo"})

        user = User.objects.get(email="ada@example.com")
        assert (user.name, user.time_zone) == ("", "Asia/Tokyo")

    def test_a_required_second_factor_is_the_matter_of_the_provider(
        self, client: Client, tenant: Tenant
    ) -> None:
        Tenant.objects.filter(pk=tenant.pk).update(requires_second_factor=True)

        assert client.get(home(tenant)).status_code == 200


class TestAttacks:
    def test_an_answer_of_another_browser_is_refused(
        self, tenant: Tenant, issuer: str, provider: SignInProvider
    ) -> None:
        answer = answer_of_provider(Client(), tenant, issuer, "5", ADA)

        assert "expired" in text(Client().get(answer))

    def test_an_answer_counts_once(
        self, tenant: Tenant, issuer: str, provider: SignInProvider
    ) -> None:
        client = Client()
        answer = answer_of_provider(client, tenant, issuer, "6", ADA)

        assert client.get(answer).status_code == 302
        assert client.get(answer).status_code == 403

    def test_a_late_answer_is_refused(
        self, tenant: Tenant, issuer: str, provider: SignInProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = Client()
        answer = answer_of_provider(client, tenant, issuer, "7", ADA)
        late = timezone.now() + timedelta(minutes=11)
        monkeypatch.setattr(clock, "now", lambda: late)

        assert client.get(answer).status_code == 403

    def test_a_token_for_another_sign_in_is_refused(
        self, tenant: Tenant, issuer: str, provider: SignInProvider
    ) -> None:
        client = Client()
        answer = answer_of_provider(client, tenant, issuer, "8", ADA)
        session = client.session
        session["single_sign_on"] = {**session["single_sign_on"], "nonce": "another"}
        session.save()

        assert "another sign-in" in text(client.get(answer))

    def test_a_token_for_another_application_is_refused(
        self, tenant: Tenant, issuer: str, provider: SignInProvider
    ) -> None:
        client = Client()
        way = client.get(f"{home(tenant)}sso/")["Location"]
        address, _, query = way.partition("?")
        changed = {name: value[0] for name, value in parse_qs(query).items()}
        answer = httpx.post(
            f"{address}?{urlencode({**changed, 'client_id': 'other'})}", data={"sub": "9"}
        )
        location = urlsplit(answer.headers["Location"])

        assert client.get(f"{location.path}?{location.query}").status_code == 403

    def test_a_provider_in_an_internal_network_is_refused(
        self, tenant: Tenant, issuer: str, settings: Any
    ) -> None:
        settings.WEBHOOK_ALLOWED_NETWORKS = []

        with pytest.raises(InvalidProvider):
            configure(tenant, issuer)

    def test_a_superuser_never_signs_in_this_way(
        self, tenant: Tenant, issuer: str, provider: SignInProvider
    ) -> None:
        user = User.objects.create_superuser("ada@example.com", "a-long-and-good-one")
        MembershipFactory.create(tenant=tenant, user=user)

        assert "cannot sign in this way" in text(sign_in(Client(), tenant, issuer, "10"))


class TestSettings:
    PAGE = "/admin/accounts/signinprovider/"
    FIELDS: dict[str, str] = {  # noqa: RUF012 # of one form
        "client_id": "portal",
        "client_secret": "a secret",
        "domains": "example.com, EXAMPLE.org",
        "default_role": "viewer",
        "is_enabled": "on",
    }

    def client(self, tenant: Tenant, role: Role = Role.OWNER) -> Client:
        client = Client()
        client.force_login(MembershipFactory.create(tenant=tenant, role=role).user)
        return client

    def test_an_owner_sets_the_provider_and_the_sign_in_page_offers_it(
        self, tenant: Tenant, issuer: str
    ) -> None:
        owner = self.client(tenant)
        login = f"{home(tenant)}login/"
        assert "Sign in with single sign-on" not in text(Client().get(login))

        response = owner.post(f"{self.PAGE}add/", {**self.FIELDS, "issuer": issuer})

        assert response.status_code == 302, re.findall("error.*", text(response))
        row = SignInProvider.every_tenant.get()
        assert row.domains == ["example.com", "example.org"]
        assert decrypt(row.client_secret, purpose=single_sign_on.PURPOSE) == "a secret"
        assert "a secret" not in text(owner.get(f"{self.PAGE}{row.pk}/change/"))
        assert "Sign in with single sign-on" in text(Client().get(login))

    def test_an_empty_secret_leaves_it_unchanged(
        self, tenant: Tenant, issuer: str, provider: SignInProvider
    ) -> None:
        before = provider.client_secret
        fields = {**self.FIELDS, "issuer": issuer, "client_secret": ""}
        self.client(tenant).post(f"{self.PAGE}{provider.pk}/change/", fields)

        provider.refresh_from_db()
        assert (provider.client_secret, provider.default_role) == (before, "viewer")

    def test_an_admin_only_reads_it(self, tenant: Tenant, provider: SignInProvider) -> None:
        admin = self.client(tenant, Role.ADMIN)
        page = f"{self.PAGE}{provider.pk}/change/"

        assert admin.get(page).status_code == 200
        assert admin.post(page, self.FIELDS).status_code == 403

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"issuer": "http://login.example.com"}, "issuer"),
            ({"issuer": "https://user:x@login.example.com"}, "issuer"),
            ({"issuer": "http://127.0.0.1:9"}, "issuer"),
            ({"issuer": "https://[x"}, "issuer"),
            ({"domains": []}, "domains"),
            ({"domains": ["not a domain"]}, "domains"),
            ({"default_role": "owner"}, "default_role"),
            ({"client_id": ""}, "client_id"),
            ({"client_secret": ""}, "client_secret"),
        ],
    )
    def test_invalid_settings_are_refused_with_the_field(
        self, tenant: Tenant, issuer: str, fields: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(InvalidProvider) as refused:
            configure(tenant, fields.pop("issuer", issuer), **fields)

        assert refused.value.field == field

    def test_a_tenant_without_single_sign_on_says_so(self, tenant: Tenant) -> None:
        assert "has no single sign-on" in text(Client().get(f"{home(tenant)}sso/"))
        assert "has no single sign-on" in text(Client().get("/admin/sso/?tenant=unknown"))

    def test_the_tenant_is_named_on_the_page_without_a_tenant(
        self, tenant: Tenant, provider: SignInProvider
    ) -> None:
        response = Client().get(f"/admin/sso/?tenant={tenant.slug}")

        assert response["Location"] == f"{home(tenant)}login/"
        assert f"{home(tenant)}sso/" in text(Client().get(response["Location"]))

    def test_a_link_never_replaces_a_session(
        self, tenant: Tenant, provider: SignInProvider
    ) -> None:
        victim = Client()
        victim.force_login(MembershipFactory.create().user)

        assert "Sign out first" in text(victim.get(f"{home(tenant)}sso/"))
