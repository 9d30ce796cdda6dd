"""The name, the colour and the logo that a tenant gives its portal."""

from copy import deepcopy
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET
from unfold.settings import CONFIG_DEFAULTS

from accounts.middleware import TENANT_SLUG
from tenants.context import current_tenant_id, every_tenant_scope, tenant_scope
from tenants.models import Tenant, TenantLogo, User
from tenants.roles import memberships_of

TITLE = "provisioning"
PRIMARY = {
    "50": "oklch(97% .014 240)",
    "100": "oklch(94% .03 240)",
    "200": "oklch(88% .06 240)",
    "300": "oklch(80% .1 240)",
    "400": "oklch(70% .14 245)",
    "500": "oklch(61% .17 250)",
    "600": "oklch(53% .18 255)",
    "700": "oklch(46% .16 258)",
    "800": "oklch(39% .13 260)",
    "900": "oklch(33% .1 262)",
    "950": "oklch(25% .08 264)",
}
# How much of the tenant's colour is in each shade, and with what it is mixed.
SHADES = {
    "50": (0.05, 255),
    "100": (0.1, 255),
    "200": (0.25, 255),
    "300": (0.4, 255),
    "400": (0.6, 255),
    "500": (0.85, 255),
    "600": (1.0, 255),
    "700": (0.85, 0),
    "800": (0.7, 0),
    "900": (0.55, 0),
    "950": (0.4, 0),
}


def title(request: HttpRequest) -> str:
    """Return the name of the portal."""
    tenant = tenant_of(request)
    return (tenant.brand_name if tenant else "") or TITLE


def colors(request: HttpRequest) -> dict[str, Any]:
    """Return the colours of the portal, as unfold expects them."""
    tenant = tenant_of(request)
    shades = shades_of(tenant.brand_color) if tenant and tenant.brand_color else dict(PRIMARY)
    return {**deepcopy(CONFIG_DEFAULTS["COLORS"]), "primary": shades}


def icon(request: HttpRequest) -> str | None:
    """Return the address of the tenant's logo, if it has one."""
    tenant = tenant_of(request)
    if tenant is None or not tenant.logo_version:
        return None
    return f"{reverse('admin:logo', args=[tenant.slug])}?{tenant.logo_version}"


@require_GET
@cache_control(private=True, max_age=86_400)
def logo(request: HttpRequest, slug: str) -> HttpResponse:
    """Return a tenant's logo, which its sign-in page shows to everybody."""
    with every_tenant_scope():
        row = TenantLogo.every_tenant.filter(tenant__slug=slug).first()
    if row is None:
        raise Http404
    return HttpResponse(bytes(row.image), content_type="image/png")


def shades_of(color: str) -> dict[str, str]:
    """Return the shades of a colour such as `#0a5c9e`, which is the shade 600."""
    parts = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
    return {
        name: "#" + "".join(f"{round(share * part + (1 - share) * other):02x}" for part in parts)
        for name, (share, other) in SHADES.items()
    }


def tenant_of(request: HttpRequest) -> Tenant | None:
    """Return the tenant of a page: that of the signed-in user, or that in the address."""
    known: dict[str, Tenant | None] = request.__dict__.setdefault("_brand", {})
    if "tenant" not in known:
        known["tenant"] = _tenant_of(request)
    return known["tenant"]


def _tenant_of(request: HttpRequest) -> Tenant | None:
    user, tenant_id = getattr(request, "user", None), current_tenant_id()
    if isinstance(user, User) and tenant_id is not None:
        for membership in memberships_of(user):
            if membership.tenant_id == tenant_id:
                return membership.tenant
        with tenant_scope(tenant_id):
            return Tenant.objects.filter(pk=tenant_id).first()
    slug = request.META.get(TENANT_SLUG)
    if not slug:
        return None
    with every_tenant_scope():
        return Tenant.objects.filter(slug=slug).first()
