import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from rest_framework.test import APIClient

from accounts.errors import (
    AlreadyMember,
    InvalidTenant,
    LastOwner,
    RoleTooLow,
    SecondFactorRequired,
)
from accounts.services import members, password_reset, tenants
from accounts.services import tokens as token_service
from events.models import Event
from tenants import tokens
from tenants.context import tenant_scope
from tenants.models import ApiToken, Membership, Role, SecondFactor, Tenant, User
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def client_with_token(token: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def test_a_token_has_its_prefix_and_256_random_bits() -> None:
    token = tokens.make("usr_")

    assert tokens.prefix_of(token) == "usr_"
    assert len(token) == 4 + 43
    assert token != tokens.make("usr_")


def test_only_the_hash_of_a_token_is_stored() -> None:
    membership = MembershipFactory.create()
    row, token = token_service.issue_api_token(
        membership=membership, name="test", now=datetime.now(UTC)
    )

    stored = str(ApiToken.every_tenant.filter(pk=row.pk).values().get())
    assert token not in stored
    assert tokens.digest(token) in stored
    assert tokens.matches(token, row.digest)


def test_revocation_and_expiry_take_effect_at_once() -> None:
    now = datetime.now(UTC)
    membership = MembershipFactory.create(role=Role.VIEWER)
    revoked, first = token_service.issue_api_token(membership=membership, name="a", now=now)
    expired, second = token_service.issue_api_token(
        membership=membership, name="b", now=now, lifetime=timedelta(hours=1)
    )
    assert client_with_token(first).get("/devices").status_code == 200
    assert client_with_token(second).get("/devices").status_code == 200

    token_service.revoke_token(revoked, now=now)
    ApiToken.every_tenant.filter(pk=expired.pk).update(expires_at=now)

    assert client_with_token(first).get("/devices").status_code == 401
    assert client_with_token(second).get("/devices").status_code == 401


def test_the_token_of_a_deactivated_user_is_rejected_at_once() -> None:
    membership = MembershipFactory.create(role=Role.VIEWER)
    _, token = token_service.issue_api_token(membership=membership, name="a", now=datetime.now(UTC))
    User.objects.filter(pk=membership.user_id).update(is_active=False)

    assert client_with_token(token).get("/devices").status_code == 401


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer usr_short",
        "Bearer usr_" + "A" * 43,
        "Bearer dev_" + "A" * 43,
        "Bearer enr_" + "A" * 43,
        "Bearer xyz_" + "A" * 43,
        "Bearer usr_" + "A" * 43 + " more",
        "Bearer \x00usr_" + "A" * 43,
        "Bearer usr_" + "é" * 43,
        "Basic dXNlcjpwYXNz",
        "Bearer " + "A" * 5000,
    ],
)
def test_malformed_and_unknown_credentials_get_the_same_401(header: str) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=header)

    for response in (client.get("/devices"), client.post("/devices/connect", {})):
        assert response.status_code == 401
        assert response["WWW-Authenticate"].startswith("Bearer")
        body = response.json()
        assert body["type"] == "client_error"
        assert set(body["errors"][0]) == {"code", "detail", "attr"}


def test_a_role_includes_the_lower_roles() -> None:
    assert Role.OWNER.includes(Role.VIEWER)
    assert not Role.VIEWER.includes(Role.OPERATOR)


def test_the_owner_of_a_tenant_created_by_command_can_sign_in(client: Any, capsys: Any) -> None:
    call_command("create_tenant", "acme", name="Acme", owner="Boss@Acme.test", as_json=True)

    result = json.loads(capsys.readouterr().out)
    assert result["tenant"] == "acme"
    assert result["owner"] == "boss@acme.test"
    assert client_with_token(result["token"]).get("/devices").status_code == 200
    data = {"username": "BOSS@acme.test", "password": result["password"]}
    assert client.post("/admin/login/?next=/admin/", data).status_code == 302
    assert client.get("/admin/", follow=True).status_code == 200


@pytest.mark.parametrize("slug", ["", "two words", "x" * 65])
def test_an_invalid_slug_is_an_error(slug: str) -> None:
    with pytest.raises(CommandError):
        call_command("create_tenant", slug)
    assert not Tenant.objects.exists()


def test_no_tenant_is_created_if_the_owner_is_invalid() -> None:
    with pytest.raises(InvalidTenant):
        tenants.create_tenant(slug="acme", owner_email="nonsense", now=datetime.now(UTC))
    assert not Tenant.objects.exists()


def test_a_slug_in_use_is_an_error() -> None:
    call_command("create_tenant", "acme")

    with pytest.raises(CommandError, match="already"):
        call_command("create_tenant", "acme")


def test_a_user_with_an_account_keeps_the_password(tenant: Tenant) -> None:
    other = MembershipFactory.create(user__last_login=NOW)

    with tenant_scope(tenant.pk):
        membership, password = members.add_member(
            email=other.user.email.upper(), role=Role.VIEWER, now=NOW
        )
        assert password is None
        assert membership.user == other.user
        with pytest.raises(AlreadyMember):
            members.add_member(email=other.user.email, role=Role.VIEWER, now=NOW)


def test_the_last_owner_cannot_be_removed(tenant: Tenant) -> None:
    owner = MembershipFactory.create(tenant=tenant, role=Role.OWNER)

    with pytest.raises(LastOwner):
        members.change_role(membership=owner, role=Role.ADMIN, by=Role.OWNER, now=NOW)
    with pytest.raises(LastOwner):
        members.remove_member(membership=owner, by=Role.OWNER, now=NOW)
    assert Membership.every_tenant.get(pk=owner.pk).role == Role.OWNER


def test_only_an_owner_can_add_or_remove_an_owner(tenant: Tenant) -> None:
    owner, member = (
        MembershipFactory.create(tenant=tenant, role=role) for role in (Role.OWNER, Role.VIEWER)
    )

    with pytest.raises(RoleTooLow):
        members.change_role(membership=member, role=Role.OWNER, by=Role.ADMIN, now=NOW)
    with pytest.raises(RoleTooLow):
        members.remove_member(membership=owner, by=Role.ADMIN, now=NOW)


def test_tokens_of_a_removed_member_are_rejected(tenant: Tenant) -> None:
    MembershipFactory.create(tenant=tenant, role=Role.OWNER)
    member = MembershipFactory.create(tenant=tenant, role=Role.VIEWER)
    _, token = token_service.issue_api_token(membership=member, name="a", now=datetime.now(UTC))

    members.remove_member(membership=member, by=Role.OWNER, now=NOW)

    assert client_with_token(token).get("/devices").status_code == 401


def test_an_enrollment_token_created_by_command_registers_a_device(
    tenant: Tenant, capsys: Any
) -> None:
    call_command("create_enrollment_token", tenant.slug, max_uses=1, expires_days=1)

    token = capsys.readouterr().out.strip()
    client = client_with_token(token)
    response = client.post("/devices/auto-register", {"serial_number": "SN-1"})
    assert response.status_code == 201


@pytest.mark.parametrize(
    "limits",
    [
        {"max_uses": 0},
        {"max_uses": 99999999999},
        {"expires_days": 0},
        {"expires_days": 99999999999},
        {"name": "x" * 200},
    ],
)
def test_an_enrollment_token_with_invalid_limits_is_an_error(
    tenant: Tenant, limits: dict[str, Any]
) -> None:
    with pytest.raises(CommandError):
        call_command("create_enrollment_token", tenant.slug, **limits)


def event_names(tenant: Tenant) -> list[str]:
    events = Event.every_tenant.filter(tenant=tenant).order_by("id")
    return list(events.values_list("name", flat=True))


def test_changes_of_members_and_tokens_are_in_the_audit_log() -> None:
    new = tenants.create_tenant(slug="acme", owner_email="boss@acme.test", now=NOW)
    tenant = new.tenant
    with tenant_scope(tenant.pk):
        member, _ = members.add_member(email="m@acme.test", role=Role.VIEWER, now=NOW)
        members.change_role(membership=member, role=Role.ADMIN, by=Role.OWNER, now=NOW)
        row, token = token_service.issue_api_token(membership=member, name="t", now=NOW)
        token_service.revoke_token(row, now=NOW)
        token_service.revoke_token(row, now=NOW)
        members.remove_member(membership=member, by=Role.OWNER, now=NOW)

    assert event_names(tenant) == [
        "tenant.created",
        "member.added",
        "api_token.issued",
        "member.added",
        "member.role_changed",
        "api_token.issued",
        "api_token.revoked",
        "member.removed",
    ]
    changed = Event.every_tenant.named("member.role_changed").get()
    assert changed.changes == {"role": ["viewer", "admin"]}
    assert token not in str(list(Event.every_tenant.values()))


def test_an_initial_password_must_be_changed_before_anything_else(
    client: Any, tenant: Tenant
) -> None:
    with tenant_scope(tenant.pk):
        members.add_member(email="new@acme.test", role=Role.VIEWER, now=NOW)
    user = User.objects.get(email="new@acme.test")
    password = password_reset.by_operator(user=user, now=NOW)
    data = {"username": "new@acme.test", "password": password}
    assert client.post("/admin/login/?next=/admin/", data).status_code == 302

    assert client.get("/admin/devices/device/")["Location"] == "/admin/password_change/"
    client.post(
        "/admin/password_change/",
        {
            "old_password": password,
            "new_password1": "a long enough one",
            "new_password2": "a long enough one",
        },
    )
    assert client.get("/admin/devices/device/").status_code == 200


def test_passwords_are_hashed_with_argon2() -> None:
    user = User.objects.create_user("a@b.test", "a long enough one")

    assert user.password.startswith("argon2$argon2id$")


def test_a_token_shows_when_it_was_last_used() -> None:
    membership = MembershipFactory.create(role=Role.VIEWER)
    row, token = token_service.issue_api_token(membership=membership, name="a", now=NOW)
    client = client_with_token(token)
    client.get("/devices")
    row.refresh_from_db()
    first = row.last_used_at
    assert first is not None

    client.get("/devices")

    row.refresh_from_db()
    assert row.last_used_at == first, "it is stored at most every five minutes"


def test_a_tenant_that_requires_a_second_factor_requires_it_for_tokens_too() -> None:
    membership = MembershipFactory.create(role=Role.VIEWER)
    _, token = token_service.issue_api_token(membership=membership, name="a", now=NOW)
    Tenant.objects.filter(pk=membership.tenant_id).update(requires_second_factor=True)
    membership.tenant.refresh_from_db()

    response = client_with_token(token).get("/devices")
    assert response.status_code == 403
    assert response.json()["errors"][0]["code"] == "second_factor_required"
    with pytest.raises(SecondFactorRequired):
        token_service.issue_api_token(membership=membership, name="b", now=NOW)

    SecondFactor.objects.create(user=membership.user, secret="x", made_at=NOW, confirmed_at=NOW)
    assert client_with_token(token).get("/devices").status_code == 200


def test_the_event_of_a_token_names_who_issued_it_and_for_whom() -> None:
    new = tenants.create_tenant(slug="acme", owner_email="boss@acme.test", now=NOW)

    event = Event.every_tenant.filter(tenant=new.tenant).named("api_token.issued").get()
    assert (event.caller_kind, event.data["email"]) == ("system", "boss@acme.test")
