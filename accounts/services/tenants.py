"""Create and change tenants."""

from dataclasses import dataclass
from datetime import datetime

from django.core.validators import validate_slug
from django.db import IntegrityError, transaction

from accounts.errors import InvalidTenant, TenantExists
from accounts.events import TenantCreated, TenantUpdated
from accounts.services import branding
from accounts.services.members import add_member
from accounts.services.tokens import issue_api_token
from accounts.services.validation import check
from events.services.outbox import record
from tenants.context import tenant_scope
from tenants.models import Role, Tenant, User


@dataclass(frozen=True, slots=True)
class NewTenant:
    """The result of `create_tenant`. Only hashes of the password and token are stored."""

    tenant: Tenant
    owner: User | None
    password: str | None  # None if the owner has signed in before
    token: str | None


@transaction.atomic
def create_tenant(
    *,
    slug: str,
    name: str = "",
    owner_email: str | None = None,
    with_token: bool = True,
    now: datetime,
) -> NewTenant:
    """Create a tenant. If an e-mail address is given, add an owner.

    Args:
        with_token: issue an API token of the owner. Only the operator of the installation may do
            this for another person, with a command.

    Raises:
        InvalidTenant: the slug, the name or the e-mail address is invalid.
        TenantExists: the slug is in use.
    """
    check(
        validate_slug,
        slug,
        "slug",
        "A slug may contain only letters, digits, hyphens and underscores.",
    )
    if len(slug) > 64 or len(name) > 120:
        raise InvalidTenant("The slug may have at most 64 characters and the name at most 120.")
    try:
        with transaction.atomic():
            tenant = Tenant.objects.create(slug=slug, name=name or slug)
    except IntegrityError as error:
        raise TenantExists(f"The tenant {slug!r} already exists.") from error
    record([TenantCreated(tenant_id=tenant.pk, at=now, slug=slug)])
    if owner_email is None:
        return NewTenant(tenant, None, None, None)
    with tenant_scope(tenant.pk):
        membership, password = add_member(email=owner_email, role=Role.OWNER, now=now)
        token = None
        if with_token:
            _, token = issue_api_token(membership=membership, name="first token", now=now)
    return NewTenant(tenant, membership.user, password, token)


@transaction.atomic
def update_tenant(
    *,
    tenant: Tenant,
    name: str,
    requires_second_factor: bool,
    accepts_mqtt: bool,
    brand_name: str,
    brand_color: str,
    now: datetime,
) -> Tenant:
    """Change the name of a tenant and its settings.

    Args:
        requires_second_factor: whether members need a second factor.
        accepts_mqtt: whether messages of its devices over MQTT are used.
        brand_name: the name of the portal; "" for the usual one.
        brand_color: the colour of its buttons, such as `#0a5c9e`; "" for the usual one.

    Raises:
        InvalidTenant: see `branding.check_color`.
    """
    branding.check_color(brand_color)
    locked_tenant = Tenant.objects.select_for_update().get(pk=tenant.pk)
    new_values = {
        "name": name,
        "requires_second_factor": requires_second_factor,
        "accepts_mqtt": accepts_mqtt,
        "brand_name": brand_name,
        "brand_color": brand_color.lower(),
    }
    changes = {
        field: (getattr(locked_tenant, field), value)
        for field, value in new_values.items()
        if getattr(locked_tenant, field) != value
    }
    for field, (_, value) in changes.items():
        setattr(locked_tenant, field, value)
    if changes:
        locked_tenant.save(update_fields=list(changes))
        record([TenantUpdated(tenant_id=tenant.pk, at=now, changes=changes)])
    return locked_tenant
