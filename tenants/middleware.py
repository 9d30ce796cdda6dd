"""Every request starts with no tenant and no caller; authentication fills both in."""

import ipaddress
import uuid
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from tenants.context import (
    Caller,
    caller_scope,
    tenant_scope,
)

GetResponse = Callable[[HttpRequest], HttpResponse]


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
