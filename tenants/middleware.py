"""Every request starts with no tenant and no caller; authentication fills both in."""

import ipaddress
import uuid
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts.services import second_factor
from tenants.context import (
    Caller,
    bind_caller,
    bind_every_tenant,
    bind_tenant,
    caller_scope,
    every_tenant_scope,
    tenant_scope,
)
from tenants.models import Membership, User

GetResponse = Callable[[HttpRequest], HttpResponse]
ALWAYS = {"login", "logout", "jsi18n"}
WITH_A_FIRST_PASSWORD = ALWAYS | {"password_change"}
WITHOUT_SECOND_FACTOR = ALWAYS | {"second-factor"}
TO_GET_A_SECOND_FACTOR = WITH_A_FIRST_PASSWORD | {
    "second-factor",
    "set-up-second-factor",
    "choose-tenant",
}
SECOND_FACTOR_SHOWN = "second_factor_shown"
SESSION_KEY = "tenant_id"


class TenantMiddleware:
    """Open an empty scope around each request, named by its request id."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        caller = Caller(
            kind="anonymous",
            address=client_address(request),
            request_id=uuid.uuid4().hex,
        )
        with tenant_scope(None), caller_scope(caller):
            response = self.get_response(request)
        response["X-Request-ID"] = caller.request_id
        return response


class PortalMiddleware:
    """In the portal, and only there, the signed-in person names the tenant."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *args: object) -> HttpResponse | None:
        match = request.resolver_match
        if match is None or match.app_name != "admin":
            return None
        user = request.user
        if not isinstance(user, User):
            return None
        if user.password_is_first and match.url_name not in WITH_A_FIRST_PASSWORD:
            return redirect("admin:password_change")
        factor = second_factor.mark(user)
        shown = second_factor_shown(request, factor)
        if factor and not shown and match.url_name not in WITHOUT_SECOND_FACTOR:
            return redirect("admin:second-factor")
        bind_caller("member", id=user.pk, name=user.email)
        if user.is_superuser:
            bind_every_tenant()
            return None
        membership = chosen_membership(request, user)
        if membership is None:
            return None
        bind_tenant(membership.tenant_id)
        asked_for = membership.tenant.requires_second_factor
        if asked_for and not shown and match.url_name not in TO_GET_A_SECOND_FACTOR:
            return redirect("admin:set-up-second-factor")
        return None


def second_factor_shown(request: HttpRequest, factor: str | None) -> bool:
    """Whether this session has shown the second factor that is in use now."""
    return factor is not None and request.session.get(SECOND_FACTOR_SHOWN) == factor


def chosen_membership(request: HttpRequest, user: User) -> Membership | None:
    """The tenant chosen in this session, or the member's first one."""
    memberships = memberships_of(user)
    chosen = request.session.get(SESSION_KEY)
    for membership in memberships:
        if str(membership.tenant_id) == chosen:
            return membership
    return memberships[0] if memberships else None


def memberships_of(user: User) -> list[Membership]:
    """In all tenants: a person may see their own, wherever they act now."""
    with every_tenant_scope():
        mine = Membership.every_tenant.filter(user_id=user.pk)
        return list(mine.select_related("tenant")[:100])


def client_address(request: HttpRequest) -> str | None:
    """The caller's address; a proxy's word for it counts from trusted proxies only."""
    peer = _address(request.META.get("REMOTE_ADDR", ""))
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    while peer is not None and _trusted(peer) and forwarded:
        nearer = _address(forwarded.pop().strip())
        if nearer is None:
            break
        peer = nearer
    return None if peer is None else str(peer)


def comes_from_proxy(request: HttpRequest) -> bool:
    """Whether whoever is connected to us is one of `TRUSTED_PROXIES`."""
    peer = _address(request.META.get("REMOTE_ADDR", ""))
    return peer is not None and _trusted(peer)


def _trusted(peer: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return any(peer in network for network in settings.TRUSTED_PROXIES)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
