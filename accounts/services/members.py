"""Add, change and remove the members of a tenant."""

import secrets
from datetime import datetime
from typing import Any

from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from accounts.errors import (
    AlreadyMember,
    InvalidTenant,
    LastOwner,
    NoSuchPerson,
    PersonUnknownYet,
    RoleTooLow,
)
from accounts.events import MemberAdded, MemberRemoved, MemberRoleChanged
from accounts.services.validation import check
from events.domain_events import Changes
from events.services.outbox import record
from tenants.models import Membership, Role, User


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
    check(validate_email, email, "email", f"{email!r} is not an e-mail address.")
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
    record([MemberAdded(**_about(membership, now), role=role.value)])
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
        changes: Changes = {"role": (membership.role, role.value)}
        record([MemberRoleChanged(**_about(membership, now), changes=changes)])


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
    record([MemberRemoved(**_about(membership, now))])
    membership.delete()


def person_by_email(email: str) -> User:
    """The person whom an operator names on the command line.

    Raises:
        NoSuchPerson: there is none.
    """
    user: User | None = User.objects.filter(email=User.objects.normalize(email)).first()
    if user is None:
        raise NoSuchPerson(f"There is no account {email!r}.")
    return user


def _about(membership: Membership, now: datetime) -> dict[str, Any]:
    return {
        "tenant_id": membership.tenant_id,
        "at": now,
        "email": membership.user.email,
    }


def _keep_an_owner(membership: Membership) -> None:
    owners = Membership.every_tenant.select_for_update().filter(
        tenant=membership.tenant_id, role=Role.OWNER
    )
    if {owner.pk for owner in owners} == {membership.pk}:
        raise LastOwner("A tenant keeps at least one owner.")
