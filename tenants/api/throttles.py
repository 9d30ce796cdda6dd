"""How often a caller may call: by address, by token and by tenant."""

from typing import Any

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from core.limits import Limit
from tenants.context import callers_network, current_caller, current_tenant_id

BY_TENANT = Limit("tenant")
BY_TOKEN = {
    "device": Limit("device"),
    "member": Limit("member"),
    "enrollment_token": Limit("enrollment"),
}
BY_ADDRESS = Limit("address")
REFUSED = Limit("refused")


class CallerThrottle(BaseThrottle):
    """A caller with a credential by it and by their tenant; anybody else by address.

    Thousands of boxes may stand behind one address, so a good credential is never
    held up for what others do at its address.
    """

    def __init__(self) -> None:
        self.seconds: float | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        """A view may have a limit of its own on top: `limit_by_address`.

        `address_limit` stands in the place of the usual one for strangers, and
        `caller_limit` for who is known.
        """
        caller = current_caller()
        if caller.kind == "anonymous":
            own: Limit | None = getattr(view, "limit_by_address", None)
            usual: Limit = getattr(view, "address_limit", BY_ADDRESS)
            self.seconds = usual.spend(callers_network())
            if own is not None and self.seconds is None:
                self.seconds = own.spend(callers_network())
        else:
            token = getattr(request.auth, "pk", caller.id)
            of_view: Limit | None = getattr(view, "caller_limit", None)
            limit = of_view or BY_TOKEN[caller.kind]
            self.seconds = limit.spend(str(token)) or BY_TENANT.spend(
                str(current_tenant_id())
            )
        return self.seconds is None

    def wait(self) -> float | None:
        return self.seconds


def wait_after_refusal() -> float | None:
    """Count a refused request of this address; how long it has to wait, if it must."""
    return REFUSED.spend(callers_network())
