"""Rate limits of the API by address, by token and by tenant."""

from typing import Any

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from core.limits import Limit
from tenants.context import caller_network, current_caller, current_tenant_id

BY_TENANT = Limit("tenant")
BY_TOKEN = {
    "device": Limit("device"),
    "member": Limit("member"),
    "enrollment_token": Limit("enrollment"),
    "gateway_token": Limit("gateway"),
}
BY_ADDRESS = Limit("address")
REJECTED = Limit("refused")


def limits_of_device(device_id: str, tenant_id: str) -> tuple[tuple[Limit, str, int], ...]:
    """Return the limits that count a request of a device, as `core.limits.spend_ahead` takes them."""
    return (BY_TOKEN["device"], device_id, 1), (BY_TENANT, tenant_id, 1)


class CallerThrottle(BaseThrottle):
    """Limit authenticated callers by token and tenant, and all others by address.

    Thousands of devices may share one address. Therefore a valid credential is never
    throttled because of other requests from its address.
    """

    def __init__(self) -> None:
        self.seconds: float | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        """Count the request. Views may set these attributes:

        * `address_limit` replaces the default limit of unauthenticated callers.
        * `additional_address_limit` is an additional limit of unauthenticated callers.
        * `caller_limit` replaces the default limit of authenticated callers.
        * `request_cost` is what a request counts for, by default 1.
        """
        caller, cost = current_caller(), getattr(view, "request_cost", 1)
        if caller.kind == "anonymous":
            limit = getattr(view, "address_limit", BY_ADDRESS)
            additional = getattr(view, "additional_address_limit", None)
            self.seconds = limit.spend(caller_network(), cost)
            if additional is not None and self.seconds is None:
                self.seconds = additional.spend(caller_network(), cost)
        else:
            token = getattr(request.auth, "pk", caller.id)
            view_limit = getattr(view, "caller_limit", None)
            limit = view_limit or BY_TOKEN[caller.kind]
            self.seconds = limit.spend(str(token), cost)
            self.seconds = self.seconds or BY_TENANT.spend(str(current_tenant_id()), cost)
        return self.seconds is None

    def wait(self) -> float | None:
        return self.seconds


def count_rejected_request() -> float | None:
    """Count a rejected request of the caller's address. Devices on MQTT have none.

    Returns:
        None if the address is below the limit, else the seconds until it may send requests
        again.
    """
    caller = current_caller()
    if caller.kind == "device" and caller.address is None:
        return None
    return REJECTED.spend(caller_network())
