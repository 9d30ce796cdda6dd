"""Portal pages of enrollment tokens."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from accounts.admin.issued_tokens import IssuedTokenAdmin
from devices.registry.admin.forms import EnrollmentTokenForm
from devices.registry.models import EnrollmentToken
from tenants.admin.base import signed_in_user


@admin.register(EnrollmentToken)
class EnrollmentTokenAdmin(IssuedTokenAdmin):
    """The admin of the tokens with which devices register themselves."""

    list_display = ("name", "hint", "state", "used", "reregistration", "expires", "made")

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        return EnrollmentTokenForm.for_user(signed_in_user(request))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = ["tenant", "name", "max_uses", "expires_at", "reregistration"]
        if not signed_in_user(request).is_superuser:
            fields.remove("tenant")
        return ((None, {"fields": fields}),)

    @admin.display(description="Uses")
    def used(self, token: EnrollmentToken) -> str:
        if token.max_uses is None:
            return "Unlimited"
        return f"{token.uses} of {token.max_uses}"
