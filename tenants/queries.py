"""Tenant look-ups for management commands."""

from tenants.errors import NoSuchTenant
from tenants.models import Tenant


def tenant_by_slug(slug: str) -> Tenant:
    """Return the tenant with a slug.

    Raises:
        NoSuchTenant: no tenant has this slug.
    """
    tenant = Tenant.objects.filter(slug=slug).first()
    if tenant is None:
        raise NoSuchTenant(f"There is no tenant {slug!r}.")
    return tenant
