"""Sign in to one tenant with its own provider of OpenID Connect.

A tenant's provider vouches for its own tenant only: whoever runs it could name any address. So
such a session sees this tenant alone, and changes nothing of the account itself
(`accounts.middleware`). It never makes a member of an account that exists already.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts.errors import InvalidProvider, ProviderFault, SignInRefused
from accounts.events import MemberAdded, SingleSignOnChanged
from accounts.models import SignInIdentity, SignInProvider
from accounts.services import openid_connect
from accounts.services.openid_connect import Client, Person
from core.encryption import decrypt, encrypt
from events.services.outbox import record
from tenants.context import current_tenant_id
from tenants.models import Membership, Role, User

PURPOSE = "client secrets of single sign-on"
MAX_DOMAINS = 20
DOMAIN = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")
DEFAULT_ROLES = ("", Role.VIEWER, Role.OPERATOR, Role.ADMIN)


def provider() -> SignInProvider | None:
    """Return the current tenant's provider, if it has one that is enabled."""
    return SignInProvider.objects.filter(is_enabled=True).first()


@transaction.atomic
def configure(
    *,
    issuer: str,
    client_id: str,
    client_secret: str,
    domains: Sequence[str],
    default_role: str,
    is_enabled: bool,
    now: datetime,
) -> SignInProvider:
    """Set the provider of the current tenant. If it is enabled, it must describe itself.

    Args:
        client_secret: "" leaves it unchanged.
        domains: of the e-mail addresses of people who may sign in.
        default_role: the role of people who are no members yet; "" refuses them.

    Raises:
        InvalidProvider: a value is not valid, or the provider cannot be used.
    """
    row = SignInProvider.objects.select_for_update().first() or SignInProvider()
    row.issuer, row.client_id = issuer.strip().rstrip("/"), client_id.strip()
    row.domains = sorted({domain.strip().lower().lstrip("@") for domain in domains} - {""})
    row.default_role, row.is_enabled = default_role, is_enabled
    if client_secret:
        row.client_secret = encrypt(client_secret, purpose=PURPOSE)
    _validate(row)
    row.save()
    event = SingleSignOnChanged(
        tenant_id=row.tenant_id, at=now, issuer=row.issuer, is_enabled=is_enabled
    )
    record([event])
    return row


def client_of(row: SignInProvider, redirect_uri: str) -> Client:
    secret = decrypt(row.client_secret, purpose=PURPOSE)
    return Client(row.issuer, row.client_id, secret, redirect_uri)


@transaction.atomic
def user_of(row: SignInProvider, person: Person, *, now: datetime) -> User:
    """Return the user whom a person is, in the current tenant. It may be created.

    Raises:
        SignInRefused: the person may not use the tenant.
    """
    identities = SignInIdentity.objects.filter(issuer=row.issuer, subject=person.subject)
    known = identities.select_related("user").first()
    if known is not None:
        if not Membership.objects.filter(user=known.user).exists():
            raise SignInRefused("You are no longer a member of this tenant.")
        return _usable(known.user)
    if person.email.rpartition("@")[2] not in row.domains:
        raise SignInRefused("Your e-mail address may not sign in to this tenant.")
    user = User.objects.filter(email=person.email).first()
    if user is None:
        user = _new_user(row, person, now)
    elif not Membership.objects.filter(user=user).exists():
        raise SignInRefused(
            "There is an account with your address that is no member of this tenant. Ask an admin"
            " of the tenant for an invitation."
        )
    fields: dict[str, Any] = {"user": _usable(user), "created_at": now}
    try:
        with transaction.atomic():
            identities.create(issuer=row.issuer, subject=person.subject, **fields)
    except IntegrityError as error:
        raise SignInRefused("You have just signed in elsewhere. Try again.") from error
    return user


def _new_user(row: SignInProvider, person: Person, now: datetime) -> User:
    if not row.default_role:
        raise SignInRefused("You are no member of this tenant. Ask an admin for an invitation.")
    user = User(email=person.email, name=person.name, address_proved=False)
    user.set_unusable_password()
    try:
        user.full_clean(exclude=["password"])
        with transaction.atomic():
            user.save(force_insert=True)
    except (ValidationError, IntegrityError) as error:
        raise SignInRefused("This address cannot be used, or is just in use. Try again.") from error
    Membership.objects.create(user=user, role=row.default_role)
    event = MemberAdded(
        tenant_id=current_tenant_id(), at=now, email=user.email, role=row.default_role
    )
    record([event])
    return user


def _usable(user: User) -> User:
    if not user.is_active or user.is_superuser:
        raise SignInRefused("This account cannot sign in this way.")
    return user


def reencrypt() -> dict[str, int]:
    """Encrypt all client secrets with the current key."""
    count = 0
    for row in SignInProvider.every_tenant.exclude(client_secret=""):
        row.client_secret = encrypt(decrypt(row.client_secret, purpose=PURPOSE), purpose=PURPOSE)
        row.save(update_fields=["client_secret"])
        count += 1
    return {"client secrets": count}


def _validate(row: SignInProvider) -> None:
    if not 0 < len(row.client_id) <= 255:
        raise InvalidProvider("A client id has 1 to 255 characters.", field="client_id")
    if not row.client_secret:
        raise InvalidProvider("Enter the client secret.", field="client_secret")
    if not 1 <= len(row.domains) <= MAX_DOMAINS:
        raise InvalidProvider(f"Enter 1 to {MAX_DOMAINS} domains.", field="domains")
    for domain in row.domains:
        if not DOMAIN.fullmatch(domain):
            raise InvalidProvider(f"{domain} is no domain.", field="domains")
    if row.default_role not in DEFAULT_ROLES:
        raise InvalidProvider("Owners are not made by a sign-in.", field="default_role")
    try:
        openid_connect.check_address(row.issuer)
        if row.is_enabled:
            openid_connect.discover(row.issuer)
    except ProviderFault as error:
        raise InvalidProvider(str(error), field="issuer") from error
