"""Base class of admin pages that create tokens, show them once and revoke them."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.decorators import display

from accounts.services.tokens import revoke_token
from core import clock
from tenants.admin.base import (
    MAX_ROWS_PER_ACTION,
    PortalAdmin,
    confirmed_action,
    results_page,
    run_for_each,
    secret_page,
)
from tenants.admin.columns import time_column
from tenants.models import IssuedToken


class IssuedTokenAdmin(PortalAdmin):
    """Base class of the admin pages of API tokens and enrollment tokens."""

    ordering: Any = ("-created_at",)
    actions: Any = ("revoke_selected",)
    created_page = "portal/secret.html"

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # tokens are revoked, and their rows kept for the audit log

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: Any = None
    ) -> HttpResponse:
        title = f"New {self.opts.verbose_name}"
        secrets = {obj.name: obj.__dict__.pop("shown_once")}
        return secret_page(self, request, title=title, secrets=secrets, template=self.created_page)

    @display(
        description="State", label={"usable": "success", "expired": "warning", "revoked": "danger"}
    )
    def state(self, token: IssuedToken) -> str:
        return token.state(clock.now())

    expires = time_column("Expires", "expires_at", is_sortable=True)
    last_used = time_column("Last used", "last_used_at", is_sortable=True)
    made = time_column("Created", "created_at", is_sortable=True)

    @confirmed_action(
        description="Revoke selected tokens",
        explanation="They stop working immediately. This cannot be undone.",
        button="Revoke",
    )
    def revoke_selected(self, request: HttpRequest, tokens: QuerySet[Any]) -> HttpResponse:
        def revoke(token: IssuedToken) -> str:
            revoke_token(token, now=clock.now())
            return "Revoked."

        outcomes = run_for_each(tokens[:MAX_ROWS_PER_ACTION], revoke)
        return results_page(self, request, "Revoke tokens", outcomes)
