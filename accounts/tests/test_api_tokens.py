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
    PersonUnknownYet,
    RoleTooLow,
)
from accounts.services import members, tenants
from accounts.services import tokens as token_service
from events.models import Event
from tenants import tokens
from tenants.context import tenant_scope
from tenants.models import ApiToken, Membership, Role, Tenant, User
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def calling(token: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def test_a_token_has_its_prefix_and_256_random_bits() -> None:
    token = tokens.make("usr_")

    assert tokens.prefix_of(token) == "usr_"
    assert len(token) == 4 + 43
    assert token != tokens.make("usr_")


def test_only_the_hash_of_a_token_is_kept() -> None:
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
    revoked, first = token_service.issue_api_token(
        membership=membership, name="a", now=now
    )
    expired, second = token_service.issue_api_token(
        membership=membership, name="b", now=now, lifetime=timedelta(hours=1)
    )
    assert calling(first).get("/devices").status_code == 200
    assert calling(second).get("/devices").status_code == 200

    token_service.revoke_token(revoked, now=now)
    ApiToken.every_tenant.filter(pk=expired.pk).update(expires_at=now)

    assert calling(first).get("/devices").status_code == 401
    assert calling(second).get("/devices").status_code == 401


def test_a_person_who_is_switched_off_is_out_at_once() -> None:
    membership = MembershipFactory.create(role=Role.VIEWER)
    _, token = token_service.issue_api_token(
        membership=membership, name="a", now=datetime.now(UTC)
    )
    User.objects.filter(pk=membership.user_id).update(is_active=False)

    assert calling(token).get("/devices").status_code == 401


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
def test_a_broken_or_unknown_credential_is_a_401_of_the_one_shape(header: str) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=header)

    for answer in (client.get("/devices"), client.post("/devices/connect", {})):
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"].startswith("Bearer")
        body = answer.json()
        assert body["type"] == "client_error"
        assert set(body["errors"][0]) == {"code", "detail", "attr"}


def test_the_roles_include_each_other_in_order() -> None:
    assert Role.OWNER.includes(Role.VIEWER)
    assert not Role.VIEWER.includes(Role.OPERATOR)


def test_the_command_makes_a_tenant_whose_owner_can_sign_in(
    client: Any, capsys: Any
) -> None:

    call_command(
        "create_tenant", "acme", name="Acme", owner="Boss@Acme.test", as_json=True
    )

    made = json.loads(capsys.readouterr().out)
    assert made["tenant"] == "acme"
    assert made["owner"] == "boss@acme.test"
    assert calling(made["token"]).get("/devices").status_code == 200
    said = {"username": "BOSS@acme.test", "password": made["password"]}
    assert client.post("/admin/login/?next=/admin/", said).status_code == 302
    assert client.get("/admin/").status_code == 200


@pytest.mark.parametrize("slug", ["", "two words", "x" * 65])
def test_a_slug_that_cannot_be_is_refused(slug: str) -> None:
    with pytest.raises(CommandError):
        call_command("create_tenant", slug)
    assert not Tenant.objects.exists()


def test_a_tenant_whose_owner_cannot_be_made_is_not_made() -> None:
    with pytest.raises(InvalidTenant):
        tenants.create_tenant(
            slug="acme", owner_email="nonsense", now=datetime.now(UTC)
        )
    assert not Tenant.objects.exists()


def test_a_slug_is_taken_once() -> None:
    call_command("create_tenant", "acme")

    with pytest.raises(CommandError, match="already"):
        call_command("create_tenant", "acme")


def test_a_person_with_an_account_keeps_their_password(tenant: Tenant) -> None:
    other = MembershipFactory.create(user__last_login=NOW)

    with tenant_scope(tenant.pk):
        membership, password = members.add_member(
            email=other.user.email.upper(), role=Role.VIEWER, now=NOW
        )
        assert password is None
        assert membership.user == other.user
        with pytest.raises(AlreadyMember):
            members.add_member(email=other.user.email, role=Role.VIEWER, now=NOW)


def test_a_tenant_keeps_an_owner(tenant: Tenant) -> None:
    owner = MembershipFactory.create(tenant=tenant, role=Role.OWNER)

    with pytest.raises(LastOwner):
        members.change_role(membership=owner, role=Role.ADMIN, by=Role.OWNER, now=NOW)
    with pytest.raises(LastOwner):
        members.remove_member(membership=owner, by=Role.OWNER, now=NOW)
    assert Membership.every_tenant.get(pk=owner.pk).role == Role.OWNER


def test_only_an_owner_makes_or_unmakes_an_owner(tenant: Tenant) -> None:
    owner, member = (
        MembershipFactory.create(tenant=tenant, role=role)
        for role in (Role.OWNER, Role.VIEWER)
    )

    with pytest.raises(RoleTooLow):
        members.change_role(membership=member, role=Role.OWNER, by=Role.ADMIN, now=NOW)
    with pytest.raises(RoleTooLow):
        members.remove_member(membership=owner, by=Role.ADMIN, now=NOW)


def test_a_removed_members_tokens_end(tenant: Tenant) -> None:
    MembershipFactory.create(tenant=tenant, role=Role.OWNER)
    member = MembershipFactory.create(tenant=tenant, role=Role.VIEWER)
    _, token = token_service.issue_api_token(
        membership=member, name="a", now=datetime.now(UTC)
    )

    members.remove_member(membership=member, by=Role.OWNER, now=NOW)

    assert calling(token).get("/devices").status_code == 401


def test_an_enrollment_token_comes_from_the_command(
    tenant: Tenant, capsys: Any
) -> None:
    call_command("create_enrollment_token", tenant.slug, max_uses=1, expires_days=1)

    token = capsys.readouterr().out.strip()
    answer = calling(token).post("/devices/auto-register", {"serial_number": "SN-1"})
    assert answer.status_code == 201


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
def test_a_token_that_could_never_be_used_is_refused(
    tenant: Tenant, limits: dict[str, Any]
) -> None:
    with pytest.raises(CommandError):
        call_command("create_enrollment_token", tenant.slug, **limits)


def told(tenant: Tenant) -> list[str]:
    events = Event.every_tenant.filter(tenant=tenant).order_by("id")
    return list(events.values_list("name", flat=True))


def test_what_happens_to_members_and_tokens_is_in_the_audit_log() -> None:
    new = tenants.create_tenant(slug="acme", owner_email="boss@acme.test", now=NOW)
    tenant = new.tenant
    with tenant_scope(tenant.pk):
        member, _ = members.add_member(email="m@acme.test", role=Role.VIEWER, now=NOW)
        members.change_role(membership=member, role=Role.ADMIN, by=Role.OWNER, now=NOW)
        row, token = token_service.issue_api_token(membership=member, name="t", now=NOW)
        token_service.revoke_token(row, now=NOW)
        token_service.revoke_token(row, now=NOW)
        members.remove_member(membership=member, by=Role.OWNER, now=NOW)

    assert told(tenant) == [
        *("tenant.created", "member.added", "api_token.issued"),
        *("member.added", "member.role_changed"),
        *("api_token.issued", "api_token.revoked", "member.removed"),
    ]
    changed = Event.every_tenant.named("member.role_changed").get()
    assert changed.changes == {"role": ["viewer", "admin"]}
    assert token not in str(list(Event.every_tenant.values()))


def test_a_person_whom_another_tenant_invited_has_to_come_there_first(
    tenant: Tenant,
) -> None:
    """Whoever invited them may still know their first password."""
    invited = MembershipFactory.create()

    with tenant_scope(tenant.pk), pytest.raises(PersonUnknownYet):
        members.add_member(email=invited.user.email, role=Role.OWNER, now=NOW)
    new = tenants.create_tenant(
        slug="acme", owner_email=invited.user.email, now=NOW
    )  # the operator may: the password that was known is void
    assert new.password is not None
    invited.user.refresh_from_db()
    assert invited.user.check_password(new.password)


def test_a_first_password_lets_its_owner_choose_another_and_nothing_else(
    client: Any, tenant: Tenant
) -> None:
    with tenant_scope(tenant.pk):
        _, password = members.add_member(
            email="new@acme.test", role=Role.VIEWER, now=NOW
        )
    said = {"username": "new@acme.test", "password": password}
    assert client.post("/admin/login/?next=/admin/", said).status_code == 302

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


def test_passwords_are_kept_by_argon2() -> None:
    user = User.objects.create_user("a@b.test", "a long enough one")

    assert user.password.startswith("argon2$argon2id$")
