"""Portal pages of invitations."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.decorators import display
from unfold.widgets import UnfoldAdminEmailInputWidget, UnfoldAdminSelectWidget

from accounts.admin.accounts import role_of
from accounts.models import Invitation
from accounts.services import invitations
from core import clock
from tenants.admin.base import (
    MAX_ROWS_PER_ACTION,
    PortalAdmin,
    confirmed_action,
    results_page,
    run_for_each,
    secret_page,
    signed_in_user,
)
from tenants.admin.columns import time_column
from tenants.admin.forms import ServiceForm, tenant_field
from tenants.models import Role, User


class InvitationForm(ServiceForm):
    """Invite a person. The new row has the link in the attribute `shown_once`, if not mailed."""

    tenant = tenant_field()
    email = forms.EmailField(
        label="E-mail address", max_length=254, widget=UnfoldAdminEmailInputWidget()
    )
    role = forms.ChoiceField(choices=Role.choices, widget=UnfoldAdminSelectWidget())
    by: User | None = None
    by_role = Role.VIEWER

    class Meta:
        model = Invitation
        fields = ("email", "role")

    def call_service(self) -> Invitation:
        new = invitations.invite(
            email=self.cleaned_data["email"],
            role=Role(self.cleaned_data["role"]),
            by=self.by,
            by_role=self.by_role,
            now=clock.now(),
        )
        new.invitation.__dict__["shown_once"] = new.link
        return new.invitation


@admin.register(Invitation)
class InvitationAdmin(PortalAdmin):
    """Invitations to a tenant. The invited person becomes a member by accepting."""

    list_display = ("email", "role", "shown_state", "invited_by", "created", "expires")
    list_filter = ("role",)
    list_select_related = ("invited_by", "tenant")
    search_fields = ("email",)
    ordering = ("-created_at", "-id")
    actions = ("withdraw_selected",)
    service_form = InvitationForm
    fieldsets = ((None, {"fields": ("email", "role")}),)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        form.by, form.by_role = signed_in_user(request), role_of(request)
        return form

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # withdrawn, and kept for the audit log

    def response_add(
        self, request: HttpRequest, obj: Invitation, post_url_continue: Any = None
    ) -> HttpResponse:
        link = obj.__dict__.pop("shown_once")
        if link is None:
            self.message_user(request, f"The invitation is mailed to {obj.email}.")
            return self.response_post_save_add(request, obj)
        title = f"Send this link to {obj.email}"
        return secret_page(self, request, title=title, secrets={"Link": link})

    @display(
        description="State", label={"pending": "info", "accepted": "success", "expired": "warning"}
    )
    def shown_state(self, invitation: Invitation) -> str:
        return invitation.state(clock.now())

    created = time_column("Invited", "created_at", is_sortable=True)
    expires = time_column("Expires", "expires_at", is_sortable=True)

    @confirmed_action(
        description="Withdraw selected invitations",
        explanation="Their links stop working immediately.",
        button="Withdraw",
    )
    def withdraw_selected(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse:
        def withdraw(invitation: Invitation) -> str:
            how = Invitation.End.WITHDRAWN
            invitations.end(invitation=invitation, how=how, now=clock.now())
            return "Withdrawn."

        outcomes = run_for_each(rows[:MAX_ROWS_PER_ACTION], withdraw)
        return results_page(self, request, "Withdraw invitations", outcomes)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        text = (
            "The link is mailed to this address."
            if settings.EMAIL_HOST
            else "This installation sends no mail. You get a link, which you send to the person."
        )
        ((title, options), *others) = super().get_fieldsets(request, obj)
        return [(title, {**options, "description": text}), *others]
