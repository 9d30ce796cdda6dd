"""Invite people to a tenant. They become members only by their own consent."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from accounts.errors import (
    AddressNotProved,
    AlreadyMember,
    InvalidPassword,
    InvalidTenant,
    InvitationEnded,
    InvitationForOtherAddress,
    RoleTooLow,
    TooManyInvitations,
)
from accounts.events import InvitationEnded as InvitationEndedEvent
from accounts.events import MemberAdded, MemberInvited
from accounts.models import Invitation
from accounts.services.validation import check
from core.encryption import decrypt, encrypt
from core.limits import Limit
from core.querysets import first_or_raise
from events.services.outbox import record
from tenants import tokens
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Membership, Role, Tenant, User

LIFETIME = timedelta(days=7)
PURPOSE = "invitation"
RATE = Limit("invitation")


@dataclass(frozen=True, slots=True)
class NewInvitation:
    """An invitation. `link` is None if the link is mailed to the invited person only."""

    invitation: Invitation
    link: str | None


@transaction.atomic
def invite(
    *, email: str, role: Role, by: User | None, by_role: Role, now: datetime
) -> NewInvitation:
    """Invite a person to the current tenant. An earlier invitation of the address is withdrawn.

    The answer is the same whether the address has an account elsewhere or not.

    Args:
        by_role: role of the user who invites.

    Raises:
        InvalidTenant: the e-mail address is invalid.
        AlreadyMember: a member of this tenant has the address.
        RoleTooLow: only an owner may invite an owner.
        TooManyInvitations: the tenant has invited too many people.
    """
    email = User.objects.normalize(email)
    check(validate_email, email, "email", f"{email!r} is not an e-mail address.")
    if len(email) > 254:
        raise InvalidTenant("The e-mail address is too long.", field="email")
    if role is Role.OWNER and by_role is not Role.OWNER:
        raise RoleTooLow("Only an owner can invite another owner.", field="role")
    if Membership.objects.filter(user__email=email).exists():
        raise AlreadyMember(f"{email} is already a member.", field="email")
    for earlier in Invitation.objects.unanswered().filter(email=email):
        end(invitation=earlier, how=Invitation.End.WITHDRAWN, now=now)
    token = secrets.token_urlsafe(32)
    is_mailed = bool(settings.EMAIL_HOST)
    invitation = Invitation(
        email=email,
        role=role,
        invited_by=by,
        digest=tokens.digest(token),
        encrypted_token=encrypt(token, purpose=PURPOSE) if is_mailed else "",
        is_mailed=is_mailed,
        created_at=now,
        expires_at=now + LIFETIME,
    )
    if wait := RATE.spend(str(invitation.tenant_id)):
        raise TooManyInvitations(retry_after=int(wait) + 1)
    invitation.save(force_insert=True)
    fields = _event_fields(invitation, now)
    record([MemberInvited(**fields, role=role.value, invitation_id=str(invitation.pk))])
    return NewInvitation(invitation, None if is_mailed else link_of(token))


def send_mail(invitation_id: str) -> None:
    """Mail the link of an invitation, and forget its token. Called by a worker."""
    rows = Invitation.objects.unanswered().filter(pk=invitation_id).exclude(encrypted_token="")
    invitation = rows.select_related("tenant", "invited_by").first()
    if invitation is None:
        return
    token = decrypt(invitation.encrypted_token, purpose=PURPOSE)
    inviter = invitation.invited_by.email if invitation.invited_by else "The operator"
    EmailMessage(
        subject=f"Invitation to {' '.join(invitation.tenant.name.split())}"[:200],
        body=f"{inviter} invites you to {invitation.tenant.name} as {invitation.role}.\n\n"
        f"{link_of(token)}\n\nThe link is valid until {invitation.expires_at:%Y-%m-%d %H:%M} UTC,"
        " and works once. If you do not know the sender, ignore this mail.",
        to=[invitation.email],
    ).send()
    Invitation.objects.filter(pk=invitation.pk).update(encrypted_token="")


def link_of(token: str) -> str:
    """Return the address of an invitation. It names no tenant, whose portal is closed so far."""
    return f"{settings.PUBLIC_URL}/admin/invitation/{token}/"


def by_token(token: str, *, now: datetime) -> Invitation:
    """Return the pending invitation of a link.

    Raises:
        InvitationEnded: the link is wrong, expired, or was used.
    """
    with every_tenant_scope():
        rows = Invitation.every_tenant.pending(now).filter(digest=tokens.digest(token))
        return first_or_raise(rows.select_related("tenant"), InvitationEnded)


def accepted_by(user: User, *, token: str) -> Tenant | None:
    """Return the tenant of an invitation that the user has accepted by this link, or None."""
    with every_tenant_scope():
        rows = Invitation.every_tenant.filter(
            digest=tokens.digest(token), email=user.email, end=Invitation.End.ACCEPTED
        )
        row = rows.select_related("tenant").first()
    return None if row is None else row.tenant


@transaction.atomic
def accept(*, invitation: Invitation, user: User, now: datetime) -> Membership:
    """Make the signed-in user a member. The user has consented.

    A link that was not mailed does not prove the address. A user who has never proved it can
    accept such a link only as the first membership.

    Raises:
        InvitationEnded: the invitation has expired or was answered meanwhile.
        InvitationForOtherAddress: the user has another e-mail address.
        AddressNotProved: the user must prove the address first, by resetting the password.
        AlreadyMember: the user is a member.
    """
    if user.email != invitation.email:
        raise InvitationForOtherAddress
    with every_tenant_scope():
        has_tenant = Membership.every_tenant.filter(user=user).exists()
    if has_tenant and not (user.address_proved or invitation.is_mailed):
        raise AddressNotProved
    with tenant_scope(invitation.tenant_id):
        end(invitation=invitation, how=Invitation.End.ACCEPTED, now=now)
        try:
            with transaction.atomic():
                membership = Membership.objects.create(user=user, role=invitation.role)
        except IntegrityError as error:
            raise AlreadyMember("You are already a member of this tenant.") from error
        fields = _event_fields(invitation, now)
        record([MemberAdded(**fields, role=str(membership.role))])
    if invitation.is_mailed and not user.address_proved:
        User.objects.filter(pk=user.pk).update(address_proved=True)
    user.__dict__.pop("is_staff", None)  # cached before the user was a member
    return membership


def _is_of_nobody(user: User) -> bool:
    """Return whether nobody has proved the address of an account, or has a password for it."""
    return not (user.has_usable_password() or user.address_proved)


@transaction.atomic
def create_account(*, invitation: Invitation, name: str, password: str, now: datetime) -> None:
    """Create the invited person's account and make it a member.

    If the address has an account, nothing changes: its owner signs in and accepts the
    invitation. The caller shows the same answer in both cases.

    Raises:
        InvalidPassword: the password is too weak.
        InvitationEnded: the invitation has expired or was answered meanwhile.
    """
    user = User(email=invitation.email, name=name, address_proved=invitation.is_mailed)
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise InvalidPassword(" ".join(error.messages), field="password") from error
    user.set_password(password)  # also for an existing account, which takes the same time
    existing = User.objects.filter(email=invitation.email).first()
    if existing is not None and invitation.is_mailed and _is_of_nobody(existing):
        # Another tenant's single sign-on has made the account, and nobody has proved the address.
        existing.set_password(password)
        existing.name, existing.address_proved = name, True
        existing.save()
        accept(invitation=invitation, user=existing, now=now)
        return
    try:
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError:
        return
    accept(invitation=invitation, user=user, now=now)


@transaction.atomic
def end(*, invitation: Invitation, how: Invitation.End, now: datetime) -> None:
    """Accept, decline or withdraw an invitation of the current tenant.

    Raises:
        InvitationEnded: the invitation was answered already.
    """
    unanswered = Invitation.objects.unanswered().filter(pk=invitation.pk)
    if not unanswered.update(ended_at=now, end=how, encrypted_token=""):
        raise InvitationEnded
    if how is not Invitation.End.ACCEPTED:
        record([InvitationEndedEvent(**_event_fields(invitation, now), how=how.value)])


def reencrypt() -> dict[str, int]:
    """Re-encrypt the tokens of invitations that are not mailed yet. See `core.encryption`."""
    count = 0
    with every_tenant_scope():
        for row in Invitation.every_tenant.exclude(encrypted_token=""):
            token = decrypt(row.encrypted_token, purpose=PURPOSE)
            Invitation.every_tenant.filter(pk=row.pk).update(
                encrypted_token=encrypt(token, purpose=PURPOSE)
            )
            count += 1
    return {"invitations": count}


def _event_fields(invitation: Invitation, now: datetime) -> dict[str, Any]:
    return {"tenant_id": invitation.tenant_id, "at": now, "email": invitation.email}
