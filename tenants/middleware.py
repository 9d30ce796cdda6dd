"""Start each request without a tenant and with an anonymous caller.

Authentication later sets the tenant and the caller.
"""

import ipaddress
import uuid
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from tenants.context import Caller, caller_scope, tenant_scope

GetResponse = Callable[[HttpRequest], HttpResponse]


class TenantMiddleware:
    """Start each request without a tenant, and assign an id to the request."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        caller = Caller(
            kind="anonymous", address=client_address(request), request_id=uuid.uuid4().hex
        )
        with tenant_scope(None), caller_scope(caller):
            response = self.get_response(request)
        response["X-Request-ID"] = caller.request_id
        return response


def client_address(request: HttpRequest) -> str | None:
    """Return the client's address. Accept `X-Forwarded-For` from trusted proxies only."""
    address = _address(request.META.get("REMOTE_ADDR", ""))
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    while address is not None and _trusted(address) and forwarded:
        previous_hop = _address(forwarded.pop().strip())
        if previous_hop is None:
            break
        address = previous_hop
    return None if address is None else str(address)


def is_from_trusted_proxy(request: HttpRequest) -> bool:
    """Return True if the connection comes from one of `TRUSTED_PROXIES`."""
    peer = _address(request.META.get("REMOTE_ADDR", ""))
    return peer is not None and _trusted(peer)


def _trusted(peer: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return any(peer in network for network in settings.TRUSTED_PROXIES)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
