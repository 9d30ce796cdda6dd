"""What is done to tenants, their members and their members' tokens."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.validators import validate_email, validate_slug
from django.db import IntegrityError, transaction

from accounts.errors import (
    AlreadyMember,
    InvalidTenant,
    LastOwner,
    NoSuchPerson,
    PersonUnknownYet,
    RoleTooLow,
    TenantExists,
)
from tenants import tokens
from tenants.context import tenant_scope
from tenants.hooks import Happening, announce
from tenants.models import ApiToken, IssuedToken, Membership, Role, Tenant, User

T = TypeVar("T", bound=IssuedToken)


@dataclass(frozen=True, slots=True)
class NewTenant:
    """What came of `create_tenant`; the password and the token are not kept anywhere."""

    tenant: Tenant
    owner: User | None
    password: str | None  # None when the owner had an account already
    token: str | None


@transaction.atomic
def create_tenant(
    *, slug: str, name: str = "", owner_email: str | None = None, now: datetime
) -> NewTenant:
    """Make a tenant and, with an e-mail address, its owner and the owner's API token.

    Raises:
        InvalidTenant: the slug or the address cannot be one.
        TenantExists: the slug is taken.
    """
    _check(validate_slug, slug, "slug", "A slug has letters, digits, - and _ only.")
    if len(slug) > 64 or len(name) > 120:
        raise InvalidTenant("At most 64 characters of slug and 120 of name.")
    try:
        with transaction.atomic():
            tenant = Tenant.objects.create(slug=slug, name=name or slug)
    except IntegrityError as error:
        raise TenantExists(f"There is a tenant {slug!r} already.") from error
    _announce("tenant.created", tenant.pk, now, slug=slug)
    if owner_email is None:
        return NewTenant(tenant, None, None, None)
    with tenant_scope(tenant.pk):
        membership, password = add_member(
            email=owner_email, role=Role.OWNER, now=now, by_operator=True
        )
        _, token = issue_api_token(membership=membership, name="first token", now=now)
    return NewTenant(tenant, membership.user, password, token)


@transaction.atomic
def update_tenant(
    *, tenant: Tenant, name: str, requires_second_factor: bool, now: datetime
) -> Tenant:
    """Change what a tenant is called and what it asks of its members."""
    held = Tenant.objects.select_for_update().get(pk=tenant.pk)
    after = {"name": name, "requires_second_factor": requires_second_factor}
    changes = {
        field: (getattr(held, field), value)
        for field, value in after.items()
        if getattr(held, field) != value
    }
    for field, (_, value) in changes.items():
        setattr(held, field, value)
    if changes:
        held.save(update_fields=list(changes))
        _announce("tenant.updated", held.pk, now, changes=changes)
    return held


@transaction.atomic
def add_member(
    *, email: str, role: Role, now: datetime, by_operator: bool = False
) -> tuple[Membership, str | None]:
    """Let a person into the current tenant.

    Args:
        by_operator: the operator of the installation does it, and hands the password
            on; a member's invitation lets the person in to choose another one.

    Returns:
        The membership and, for a person who had no account, their first password.

    Raises:
        InvalidTenant: the e-mail address is none.
        AlreadyMember: the person is in the tenant.
        PersonUnknownYet: another tenant invited them, and they have not come yet.
    """
    email = User.objects.normalize(email)
    _check(validate_email, email, "email", f"{email!r} is not an e-mail address.")
    if len(email) > 254:
        raise InvalidTenant("The e-mail address is too long.", field="email")
    user = User.objects.filter(email=email).first()
    password = None
    if user is not None and user.last_login is None and not by_operator:
        # Whoever invited them first may still know their password.
        raise PersonUnknownYet(
            f"{email} has been invited elsewhere and has to sign in there first.",
            field="email",
        )
    if user is None or user.last_login is None:
        password = secrets.token_urlsafe(12)
        user = user or User.objects.create_user(email)
        user.set_password(password)
        user.password_is_first = not by_operator
        user.save()
    try:
        with transaction.atomic():
            membership: Membership = Membership.objects.create(user=user, role=role)
    except IntegrityError as error:
        raise AlreadyMember(f"{email} is a member already.", field="email") from error
    _announce("member.added", membership.tenant_id, now, email=email, role=role.value)
    return membership, password


@transaction.atomic
def change_role(*, membership: Membership, role: Role, by: Role, now: datetime) -> None:
    """Give a member another role.

    Raises:
        RoleTooLow: an owner is made or unmade by somebody who is not one.
        LastOwner: the tenant would be left without an owner.
    """
    if Role.OWNER in (role, membership.role) and by is not Role.OWNER:
        raise RoleTooLow("Only an owner makes or unmakes an owner.")
    if role is not Role.OWNER:
        _keep_an_owner(membership)
    Membership.every_tenant.filter(pk=membership.pk).update(role=role)
    if role != membership.role:
        _announce(
            "member.role_changed",
            membership.tenant_id,
            now,
            changes={"role": (membership.role, role.value)},
            email=membership.user.email,
        )


@transaction.atomic
def remove_member(*, membership: Membership, by: Role, now: datetime) -> None:
    """End a membership, and with it the member's tokens in this tenant.

    Raises:
        RoleTooLow: an owner is removed by somebody who is not one.
        LastOwner: the tenant would be left without an owner.
    """
    if membership.role == Role.OWNER and by is not Role.OWNER:
        raise RoleTooLow("Only an owner removes an owner.")
    _keep_an_owner(membership)
    email = membership.user.email
    membership.delete()
    _announce("member.removed", membership.tenant_id, now, email=email)


@transaction.atomic
def issue_token(model: type[T], *, now: datetime, **fields: object) -> tuple[T, str]:
    """A row for a new token of this kind, and the token, which is not kept."""
    token = tokens.make(model.prefix)
    row = model(
        digest=tokens.digest(token), hint=tokens.hint(token), created_at=now, **fields
    )
    row.save(force_insert=True)
    _announce(f"{model.noun}.issued", row.tenant_id, now, name=row.name, hint=row.hint)
    return row, token


def issue_api_token(
    *,
    membership: Membership,
    name: str,
    now: datetime,
    lifetime: timedelta | None = None,
) -> tuple[ApiToken, str]:
    """A new `usr_` token for a member; `lifetime` None means until it is revoked."""
    return issue_token(
        ApiToken,
        now=now,
        name=name,
        membership=membership,
        tenant_id=membership.tenant_id,
        expires_at=None if lifetime is None else now + lifetime,
    )


@transaction.atomic
def revoke_token(token: IssuedToken, *, now: datetime) -> None:
    """End a token at once; twice is once."""
    valid = type(token).every_tenant.filter(pk=token.pk, revoked_at__isnull=True)
    if valid.update(revoked_at=now):
        _announce(
            f"{token.noun}.revoked",
            token.tenant_id,
            now,
            name=token.name,
            hint=token.hint,
        )


def person_by_email(email: str) -> User:
    """The person whom an operator names on the command line.

    Raises:
        NoSuchPerson: there is none.
    """
    user: User | None = User.objects.filter(email=User.objects.normalize(email)).first()
    if user is None:
        raise NoSuchPerson(f"There is no account {email!r}.")
    return user


def _announce(
    happened: str,
    tenant_id: UUID | None,
    now: datetime,
    *,
    changes: dict[str, tuple[Any, Any]] | None = None,
    **data: Any,
) -> None:
    announce(
        Happening(
            name=happened, tenant_id=tenant_id, at=now, data=data, changes=changes or {}
        )
    )


def _keep_an_owner(membership: Membership) -> None:
    owners = Membership.every_tenant.select_for_update().filter(
        tenant=membership.tenant_id, role=Role.OWNER
    )
    if {owner.pk for owner in owners} == {membership.pk}:
        raise LastOwner("A tenant keeps at least one owner.")


def _check(validator: object, value: str, field: str, sentence: str) -> None:
    assert callable(validator)
    try:
        validator(value)
    except ValidationError as error:
        raise InvalidTenant(sentence, field=field) from error
