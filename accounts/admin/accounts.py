"""Admin pages of tenants, members, API tokens and users."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from unfold.decorators import action
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminSplitDateTimeWidget

from accounts.admin.issued_tokens import IssuedTokenAdmin
from accounts.services import members, second_factor, tokens
from core import clock
from tenants.admin.base import (
    MAX_ROWS_PER_ACTION,
    PortalAdmin,
    confirmed_action,
    results_page,
    run_for_each,
    signed_in_user,
)
from tenants.admin.columns import time_column
from tenants.admin.forms import ServiceForm, text_field
from tenants.models import ApiToken, Membership, Role, User
from tenants.roles import role_in_current_tenant


class MembershipForm(ServiceForm):
    """Change the role of a member."""

    role = forms.ChoiceField(choices=Role.choices, widget=UnfoldAdminSelectWidget())
    by = Role.OWNER

    class Meta:
        model = Membership
        fields = ("role",)

    def call_service(self) -> Membership:
        role = Role(self.cleaned_data["role"])
        members.change_role(membership=self.instance, role=role, by=self.by, now=clock.now())
        self.instance.role = role
        return self.instance


@admin.register(Membership)
class MembershipAdmin(PortalAdmin):
    """The members of a tenant and their roles."""

    list_display = ("user", "role", "since")
    list_filter = ("role",)
    list_select_related = ("user", "tenant")
    search_fields = ("user__email",)
    ordering = ("created_at",)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = MembershipForm.for_user(signed_in_user(request))
        form.by = role_of(request)
        return form

    fieldsets = ((None, {"fields": ("role",)}),)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # people are invited, and become members by their own consent

    @action(description="Invite a member", url_path="invite", permissions=["invite"])
    def invite(self, request: HttpRequest) -> HttpResponse:
        return redirect("admin:accounts_invitation_add")

    def has_invite_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return request.user.has_perm("accounts.add_invitation")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # use the action, which calls the service

    actions = ("remove_selected", "remove_second_factor")
    actions_list = ("invite",)

    @confirmed_action(
        description="Remove the second factor of selected members",
        explanation="Their password alone is then enough to sign in. Do this only for members who"
        " have asked you in person.",
        button="Remove the second factor",
    )
    def remove_second_factor(
        self, request: HttpRequest, memberships: QuerySet[Membership]
    ) -> HttpResponse:
        def remove(membership: Membership) -> str:
            removed = second_factor.remove_for(membership, now=clock.now())
            return "Removed." if removed else "The member has no second factor."

        outcomes = run_for_each(memberships[:MAX_ROWS_PER_ACTION], remove)
        return results_page(self, request, "Remove second factors", outcomes)

    @confirmed_action(
        description="Remove selected members",
        explanation="They lose access at once, and their API tokens in this tenant are deleted.",
        button="Remove",
    )
    def remove_selected(
        self, request: HttpRequest, memberships: QuerySet[Membership]
    ) -> HttpResponse:
        by = role_of(request)

        def remove(membership: Membership) -> str:
            members.remove_member(membership=membership, by=by, now=clock.now())
            return "Removed. The member's API tokens in this tenant were deleted too."

        outcomes = run_for_each(memberships[:MAX_ROWS_PER_ACTION], remove)
        return results_page(self, request, "Remove members", outcomes)

    since = time_column("Member since", "created_at", is_sortable=True)


class ApiTokenForm(ServiceForm):
    """Form with which a member creates an API token of their own.

    The saved instance has the token in the attribute `shown_once`, so that the next page can show
    it. The token itself is not stored.
    """

    name = text_field(
        "Name",
        required=True,
        length=120,
        help_text="Purpose of the token, such as “Nightly export”. The token has your role.",
    )
    expires_at = forms.SplitDateTimeField(
        label="Expires",
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget(),
        help_text="If empty, the token is valid until it is revoked.",
    )
    membership: Membership | None = None  # of the signed-in member

    class Meta:
        model = ApiToken
        fields = ("name",)

    def tenant_id(self) -> Any:
        return None if self.membership is None else self.membership.tenant_id

    def call_service(self) -> ApiToken:
        assert self.membership is not None  # otherwise there is no permission to add
        now, expires_at = clock.now(), self.cleaned_data["expires_at"]
        row, token = tokens.issue_api_token(
            membership=self.membership,
            name=self.cleaned_data["name"],
            lifetime=None if expires_at is None else expires_at - now,
            now=now,
        )
        row.__dict__["shown_once"] = token
        return row


@admin.register(ApiToken)
class ApiTokenAdmin(IssuedTokenAdmin):
    """A member's own API tokens. Admins also see and revoke those of the others."""

    list_display = ("name", "hint", "membership", "state", "expires", "last_used", "made")
    list_select_related = ("membership__user", "tenant")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        if role_of(request).includes(Role.ADMIN):
            return rows
        return rows.filter(membership__user=signed_in_user(request))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Every member may create a token for themselves, and nobody for somebody else."""
        return own_membership(request) is not None

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = ApiTokenForm.for_user(signed_in_user(request))
        form.membership = own_membership(request)
        return form

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return ((None, {"fields": ("name", "expires_at")}),)


@admin.register(User)
class UserAdmin(PortalAdmin):
    """All user accounts of the installation. Only superusers see these pages."""

    list_display = ("email", "name", "is_active", "is_superuser", "last_login")
    list_filter = ("is_active", "is_superuser")
    search_fields = ("email", "name")
    ordering = ("email",)
    fields = ("email", "name", "is_active", "is_superuser", "last_login", "created_at")
    readonly_fields = ("email", "last_login", "created_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # an account is created with the first membership

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # accounts are deactivated, so that the history keeps their names


def role_of(request: HttpRequest) -> Role:
    """Return the role of the signed-in user. Superusers count as owners."""
    user = signed_in_user(request)
    if user.is_superuser:
        return Role.OWNER
    return role_in_current_tenant(user) or Role.VIEWER


def own_membership(request: HttpRequest) -> Membership | None:
    """Return the signed-in user's membership in the current tenant, or None."""
    memberships = Membership.objects.select_related("tenant", "user")
    return memberships.filter(user=signed_in_user(request)).first()
