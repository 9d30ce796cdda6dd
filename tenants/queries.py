"""Look-ups of tenants for operators."""

from tenants.errors import NoSuchTenant
from tenants.models import Tenant


def tenant_by_slug(slug: str) -> Tenant:
    """The tenant that an operator names on the command line.

    Raises:
        NoSuchTenant: there is none.
    """
    tenant = Tenant.objects.filter(slug=slug).first()
    if tenant is None:
        raise NoSuchTenant(f"There is no tenant {slug!r}.")
    return tenant
