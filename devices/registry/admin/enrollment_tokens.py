"""Portal pages of enrollment tokens."""

from django.contrib import admin

from accounts.admin.issued_tokens import IssuedTokenAdmin
from devices.registry.admin.forms import EnrollmentTokenForm
from devices.registry.models import EnrollmentToken


@admin.register(EnrollmentToken)
class EnrollmentTokenAdmin(IssuedTokenAdmin):
    """The admin class of the tokens with which devices register themselves."""

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
    fields = ("name", "max_uses", "expires_at", "reregistration")

    @admin.display(description="Uses")
    def used(self, token: EnrollmentToken) -> str:
        if token.max_uses is None:
            return "Unlimited"
        return f"{token.uses} of {token.max_uses}"
