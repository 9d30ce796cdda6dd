"""Start each request without a tenant and with an anonymous caller.

Authentication later sets the tenant and the caller.
"""

import ipaddress
import uuid
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from tenants.context import Caller, caller_scope, current_tenant_id, tenant_scope

TENANT_SEEN = "tenants.seen"  # WSGI key of a list that gets the id of the caller's tenant
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
            if (tenant_id := current_tenant_id()) is not None:
                request.META.get(TENANT_SEEN, []).append(str(tenant_id))
        response["X-Request-ID"] = caller.request_id
        return response


def client_address(request: HttpRequest) -> str | None:
    """Return the client's address. Accept `X-Forwarded-For` from trusted proxies only."""
    return forwarded_address(
        request.META.get("REMOTE_ADDR", ""), request.META.get("HTTP_X_FORWARDED_FOR", "")
    )


def forwarded_address(peer: str, forwarded_for: str) -> str | None:
    """Return the address of the client behind trusted proxies, or None if it is unreadable.

    Args:
        peer: the address of the connection.
        forwarded_for: the value of `X-Forwarded-For`. Its addresses may have ports or brackets.
    """
    address = parse_address(peer)
    hops = forwarded_for.split(",")
    while address is not None and _trusted(address) and hops:
        previous_hop = parse_address(hops.pop())
        if previous_hop is None:
            break
        address = previous_hop
    return None if address is None else str(address)


def is_from_trusted_proxy(request: HttpRequest) -> bool:
    """Return True if the connection comes from one of `TRUSTED_PROXIES`."""
    return is_trusted(request.META.get("REMOTE_ADDR", ""))


def is_trusted(peer: str) -> bool:
    """Return True if an address belongs to one of `TRUSTED_PROXIES`."""
    address = parse_address(peer)
    return address is not None and _trusted(address)


def _trusted(peer: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return any(peer in network for network in settings.TRUSTED_PROXIES)


def parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse an address as proxies write it: `192.0.2.1:443`, `[2001:db8::1]:443`, `::ffff:192.0.2.1`.

    An IPv4 address inside an IPv6 address is returned as IPv4.
    """
    host = text.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
