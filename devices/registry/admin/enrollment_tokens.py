"""Portal pages of enrollment tokens."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from accounts.admin.issued_tokens import IssuedTokenAdmin
from devices.registry.admin.device_owner import DeviceOwnerPage
from devices.registry.admin.forms import EnrollmentTokenForm
from devices.registry.models import EnrollmentToken


@admin.register(EnrollmentToken)
class EnrollmentTokenAdmin(DeviceOwnerPage, IssuedTokenAdmin):
    """The admin class of the tokens with which devices register themselves."""

    created_page = "portal/enrollment_secret.html"

    list_display = (
        "name",
        "hint",
        "state",
        "used",
        "reregistration",
        "expires",
        "last_used",
        "made",
    )
    service_form = EnrollmentTokenForm
    details = ("name", "max_uses", "expires_at", "reregistration")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return (*self.details, *(("tags", "site") if obj else ("tag_names", "site_name")))

    @admin.display(description="Uses")
    def used(self, token: EnrollmentToken) -> str:
        if token.max_uses is None:
            return "Unlimited"
        return f"{token.uses} of {token.max_uses}"
