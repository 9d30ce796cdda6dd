"""Tenant look-ups for management commands."""

from core.querysets import first_or_raise
from tenants.errors import NoSuchTenant
from tenants.models import Tenant


def tenant_by_slug(slug: str) -> Tenant:
    """Return the tenant with the given slug.

    Raises:
        NoSuchTenant: no tenant has this slug.
    """
    return first_or_raise(
        Tenant.objects.filter(slug=slug), NoSuchTenant(f"There is no tenant {slug!r}.")
    )
