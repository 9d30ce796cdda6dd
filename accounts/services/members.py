"""Add, change and remove the members of a tenant."""

import secrets
from datetime import datetime
from typing import Any

from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from accounts.errors import AlreadyMember, InvalidTenant, LastOwner, RoleTooLow, UserNotFound
from accounts.events import MemberAdded, MemberRemoved, MemberRoleChanged
from accounts.services.validation import check
from core.querysets import first_or_raise
from events.domain_events import Changes
from events.services.outbox import record
from tenants.models import Membership, Role, User


@transaction.atomic
def add_member(*, email: str, role: Role, now: datetime) -> tuple[Membership, str | None]:
    """Add a user to the current tenant, for the operator of the installation.

    Members cannot do this; they invite (see `accounts.services.invitations`).

    Args:
        email: e-mail address of the user. An account is created if there is none.
        role: role in the tenant.
        now: current time.

    Returns:
        The membership, and the initial password of a user who has never signed in.

    Raises:
        InvalidTenant: the e-mail address is invalid.
        AlreadyMember: the user is a member of the tenant.
    """
    email = User.objects.normalize(email)
    check(validate_email, email, "email", f"{email!r} is not an e-mail address.")
    if len(email) > 254:
        raise InvalidTenant("The e-mail address is too long.", field="email")
    user = User.objects.filter(email=email).first()
    password = None
    if user is None or user.last_login is None:
        password = secrets.token_urlsafe(12)
        user = user or User.objects.create_user(email)
        user.set_password(password)
        user.save()
    try:
        with transaction.atomic():
            membership = Membership.objects.create(user=user, role=role)
    except IntegrityError as error:
        raise AlreadyMember(f"{email} is already a member.", field="email") from error
    record([MemberAdded(**_event_fields(membership, now), role=role.value)])
    return membership, password


@transaction.atomic
def change_role(*, membership: Membership, role: Role, by: Role, now: datetime) -> None:
    """Change the role of a member.

    Args:
        by: role of the user who makes the change.

    Raises:
        RoleTooLow: only an owner may change an owner's role or make a member an owner.
        LastOwner: the tenant would have no owner.
    """
    if Role.OWNER in (role, membership.role) and by is not Role.OWNER:
        raise RoleTooLow("Only an owner can add or remove the role owner.")
    if role is not Role.OWNER:
        require_another_owner(membership)
    Membership.every_tenant.filter(pk=membership.pk).update(role=role)
    if role != membership.role:
        changes: Changes = {"role": (membership.role, role.value)}
        record([MemberRoleChanged(**_event_fields(membership, now), changes=changes)])


@transaction.atomic
def remove_member(*, membership: Membership, by: Role, now: datetime) -> None:
    """Remove a member from a tenant. Delete the member's API tokens for this tenant.

    Args:
        by: role of the user who makes the change.

    Raises:
        RoleTooLow: only an owner may remove an owner.
        LastOwner: the tenant would have no owner.
    """
    if membership.role == Role.OWNER and by is not Role.OWNER:
        raise RoleTooLow("Only an owner can remove an owner.")
    require_another_owner(membership)
    record([MemberRemoved(**_event_fields(membership, now))])
    membership.delete()


def require_another_owner(membership: Membership) -> None:
    """Check that a tenant has an owner without this member. Lock its owners.

    Raises:
        LastOwner: it has no other one.
    """
    owners = Membership.every_tenant.select_for_update().filter(
        tenant=membership.tenant_id, role=Role.OWNER
    )
    if {owner.pk for owner in owners} == {membership.pk}:
        raise LastOwner(f"{membership.tenant.name} must have at least one owner.")


def user_by_email(email: str) -> User:
    """Return the user with the given e-mail address.

    Raises:
        UserNotFound: no account has this address.
    """
    return first_or_raise(
        User.objects.filter(email=User.objects.normalize(email)),
        UserNotFound(f"There is no account {email!r}."),
    )


def _event_fields(membership: Membership, now: datetime) -> dict[str, Any]:
    return {"tenant_id": membership.tenant_id, "at": now, "email": membership.user.email}
