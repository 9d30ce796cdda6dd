"""Create and change tenants."""

from dataclasses import dataclass
from datetime import datetime

from django.core.validators import validate_slug
from django.db import IntegrityError, transaction

from accounts.errors import InvalidTenant, TenantExists
from accounts.events import TenantCreated, TenantUpdated
from accounts.services.members import add_member
from accounts.services.tokens import issue_api_token
from accounts.services.validation import check
from events.services.outbox import record
from tenants.context import tenant_scope
from tenants.models import Role, Tenant, User


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
    check(validate_slug, slug, "slug", "A slug has letters, digits, - and _ only.")
    if len(slug) > 64 or len(name) > 120:
        raise InvalidTenant("At most 64 characters of slug and 120 of name.")
    try:
        with transaction.atomic():
            tenant = Tenant.objects.create(slug=slug, name=name or slug)
    except IntegrityError as error:
        raise TenantExists(f"There is a tenant {slug!r} already.") from error
    record([TenantCreated(tenant_id=tenant.pk, at=now, slug=slug)])
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
    locked_tenant = Tenant.objects.select_for_update().get(pk=tenant.pk)
    after = {"name": name, "requires_second_factor": requires_second_factor}
    changes = {
        field: (getattr(locked_tenant, field), value)
        for field, value in after.items()
        if getattr(locked_tenant, field) != value
    }
    for field, (_, value) in changes.items():
        setattr(locked_tenant, field, value)
    if changes:
        locked_tenant.save(update_fields=list(changes))
        record([TenantUpdated(tenant_id=tenant.pk, at=now, changes=changes)])
    return locked_tenant
