"""The pages of a sign-in with OpenID Connect: the way to the provider, and the way back."""

from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.middleware import ONLY_TENANT, TENANT_SLUG, tenant_address
from accounts.services import openid_connect, single_sign_on
from accounts.services.openid_connect import Pending
from core import clock
from core.errors import DomainError
from provisioning.portal import sign_in
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Tenant

PENDING = "single_sign_on"  # in the session: the sign-in that was begun
BACKEND = "tenants.roles.RoleBackend"
NOT_OFFERED = "This tenant has no single sign-on. Sign in with your password."


def is_offered(request: HttpRequest) -> bool:
    """Return whether the tenant in the address has a provider."""
    tenant = _tenant(request.META.get(TENANT_SLUG, ""))
    if tenant is None:
        return False
    with tenant_scope(tenant.pk):
        return single_sign_on.provider() is not None


@never_cache
@require_GET
def begin(request: HttpRequest) -> HttpResponse:
    """Send the browser to the provider of the tenant in the address, or in `?tenant=`."""
    if (slug := request.GET.get("tenant", "").strip()) and TENANT_SLUG not in request.META:
        tenant = _tenant(slug)
        if tenant is None:
            return _refused(request, NOT_OFFERED)
        return redirect(f"{tenant_address(tenant.slug)}login/")  # which has a link
    limited = sign_in.spend(request)
    if limited is not None:
        return limited
    tenant = _tenant(request.META.get(TENANT_SLUG, ""))
    if tenant is None:
        return _refused(request, NOT_OFFERED)
    if request.user.is_authenticated:  # a link must not replace a session
        return _refused(request, f"You are signed in as {request.user}. Sign out first.")
    now = clock.now()
    with tenant_scope(tenant.pk):
        provider = single_sign_on.provider()
        if provider is None:
            return _refused(request, NOT_OFFERED)
        pending = Pending.new(now)
        try:
            client = single_sign_on.client_of(provider, _callback(request))
            url = openid_connect.authorization_url(client, pending)
        except DomainError as error:
            return _refused(request, str(error))
    request.session[PENDING] = {"tenant": tenant.slug, **pending.as_json()}
    return redirect(url)


@never_cache
@require_GET
def finish(request: HttpRequest) -> HttpResponse:
    """Sign the user in whom the provider has authenticated."""
    limited = sign_in.spend(request)
    if limited is not None:
        return limited
    stored: dict[str, Any] = request.session.pop(PENDING, None) or {}
    tenant = _tenant(stored.pop("tenant", ""))
    now = clock.now()
    if tenant is None or not Pending(**stored).is_for(request.GET.get("state", ""), now):
        return _refused(request, "This sign-in has expired. Try again.")
    if "code" not in request.GET:
        fault = request.GET.get("error_description") or request.GET.get("error") or "no reason"
        return _refused(request, f"The provider has not signed you in: {fault[:200]}")
    try:
        with tenant_scope(tenant.pk):
            provider = single_sign_on.provider()
            if provider is None:
                return _refused(request, NOT_OFFERED)
            client = single_sign_on.client_of(provider, _callback(request))
            person = openid_connect.finish(client, Pending(**stored), request.GET["code"], now=now)
            user = single_sign_on.user_of(provider, person, now=now)
    except DomainError as error:
        return _refused(request, str(error))
    request.session.flush()  # nothing of another user's session is kept
    login(request, user, backend=BACKEND)
    request.session[ONLY_TENANT] = str(tenant.pk)
    return redirect(tenant_address(tenant.slug))


def _tenant(slug: str) -> Tenant | None:
    with every_tenant_scope():
        return Tenant.objects.filter(slug=slug).first()


def _callback(request: HttpRequest) -> str:
    """Return the address to which the provider sends the browser back. It has no tenant."""
    return f"{settings.PUBLIC_URL.rstrip('/')}/admin/sso/callback/"


def _refused(request: HttpRequest, text: str) -> HttpResponse:
    messages.error(request, text)
    context = {**admin.site.each_context(request), "title": "Single sign-on"}
    context["sign_in_url"] = reverse("admin:login")
    return TemplateResponse(request, "portal/single_sign_on_refused.html", context, status=403)
