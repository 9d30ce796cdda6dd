"""Tenants, their members and the members' tokens in the portal."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldBooleanSwitchWidget,
)

from accounts.admin.issued_tokens import IssuedTokenAdmin
from accounts.errors import RoleTooLow
from accounts.services import members, second_factor, tenants, tokens
from core.templatetags.portal import moment_in_words
from tenants.admin.base import (
    MOST_AT_ONCE,
    PortalAdmin,
    act_on_each,
    person,
    report_page,
    secret_page,
)
from tenants.admin.forms import ServiceForm, tenant_field, text
from tenants.models import ApiToken, Membership, Role, Tenant, User
from tenants.roles import role_in_current_tenant, visible_to


class TenantForm(ServiceForm):
    """A new tenant with its owner, or another name for one."""

    slug = text(
        "Slug", required=True, help_text="Letters, digits, - and _; for commands."
    )
    name = text("Name", required=True, length=120)
    owner = text("Owner's e-mail", length=254)
    requires_second_factor = forms.BooleanField(
        label="Second factor required",
        required=False,
        widget=UnfoldBooleanSwitchWidget(),
        help_text="Members without one set it up before they can do anything else.",
    )

    class Meta:
        model = Tenant
        fields = ("slug", "name", "requires_second_factor")

    def act(self) -> Tenant:
        said = self.cleaned_data
        if self.instance.pk and not self.instance._state.adding:
            return tenants.update_tenant(
                tenant=self.instance,
                name=said["name"],
                requires_second_factor=said["requires_second_factor"],
                now=timezone.now(),
            )
        new = tenants.create_tenant(
            slug=said["slug"],
            name=said["name"],
            owner_email=said["owner"] or None,
            now=timezone.now(),
        )
        shown = {"Password": new.password, "API token": new.token}
        new.tenant.__dict__["shown_once"] = {k: v for k, v in shown.items() if v}
        return new.tenant


@admin.register(Tenant)
class TenantAdmin(PortalAdmin):
    """Every tenant for the superuser; for members their own, which its owner changes."""

    list_display = ("name", "slug", "requires_second_factor", "made")
    search_fields = ("name", "slug")
    ordering = ("slug",)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = TenantForm.for_person(person(request))
        absent = ("slug", "owner") if obj else ("requires_second_factor",)
        for name in absent:
            del form.base_fields[name]
        return form

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        changed = ("name", "requires_second_factor")
        return ((None, {"fields": changed if obj else ("slug", "name", "owner")}),)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return person(request).is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def response_add(
        self, request: HttpRequest, obj: Tenant, post_url_continue: Any = None
    ) -> HttpResponse:
        secrets = obj.__dict__.pop("shown_once", {})
        if not secrets:
            return super().response_add(request, obj, post_url_continue)
        return secret_page(self, request, title=f"{obj.name}'s owner", secrets=secrets)

    @admin.display(description="Made", ordering="created_at")
    def made(self, tenant: Tenant) -> str:
        return moment_in_words(tenant.created_at)


class MembershipForm(ServiceForm):
    """A person let in, or their role changed."""

    tenant = tenant_field()
    email = forms.EmailField(label="E-mail", max_length=254)
    role = forms.ChoiceField(choices=Role.choices, widget=UnfoldAdminSelectWidget())
    by = Role.OWNER

    class Meta:
        model = Membership
        fields = ("role",)

    def act(self) -> Membership:
        role = Role(self.cleaned_data["role"])
        if not self.instance._state.adding:
            members.change_role(
                membership=self.instance, role=role, by=self.by, now=timezone.now()
            )
            self.instance.role = role
            return self.instance
        if role is Role.OWNER and self.by is not Role.OWNER:
            raise RoleTooLow("Only an owner makes an owner.", field="role")
        email = self.cleaned_data["email"]
        membership, password = members.add_member(
            email=email, role=role, now=timezone.now()
        )
        membership.__dict__["shown_once"] = password
        return membership


@admin.register(Membership)
class MembershipAdmin(PortalAdmin):
    """Who is in the tenant, and as what."""

    list_display = ("user", "role", "since")
    list_filter = ("role",)
    list_select_related = ("user", "tenant")
    search_fields = ("user__email",)
    ordering = ("created_at",)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = MembershipForm.for_person(person(request))
        form.by = role_of(request)
        if obj is not None:
            form.base_fields = {"role": form.base_fields["role"]}
        return form

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is not None:
            return ((None, {"fields": ("role",)}),)
        fields = ["tenant", "email", "role"]
        if not person(request).is_superuser:
            fields.remove("tenant")
        return ((None, {"fields": fields}),)

    def response_add(
        self, request: HttpRequest, obj: Membership, post_url_continue: Any = None
    ) -> HttpResponse:
        password = obj.__dict__.pop("shown_once", None)
        if password is None:
            return super().response_add(request, obj, post_url_continue)
        secrets = {f"First password of {obj.user}": password}
        return secret_page(self, request, title="New member", secrets=secrets)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # an action removes members, through the service

    actions = ("remove_selected", "remove_second_factor")

    @admin.action(
        description="Remove the second factor of selected members",
        permissions=["change"],
    )
    def remove_second_factor(
        self, request: HttpRequest, memberships: QuerySet[Membership]
    ) -> HttpResponse:
        def remove(membership: Membership) -> str:
            there = second_factor.remove_for(membership, now=timezone.now())
            return "Removed." if there else "There was none."

        outcomes = act_on_each(memberships[:MOST_AT_ONCE], remove)
        return report_page(self, request, "Second factors", outcomes)

    @admin.action(description="Remove selected members", permissions=["change"])
    def remove_selected(
        self, request: HttpRequest, memberships: QuerySet[Membership]
    ) -> HttpResponse:
        by = role_of(request)

        def remove(membership: Membership) -> str:
            members.remove_member(membership=membership, by=by, now=timezone.now())
            return "Removed, with their tokens in this tenant."

        outcomes = act_on_each(memberships[:MOST_AT_ONCE], remove)
        return report_page(self, request, "Removed", outcomes)

    @admin.display(description="Since", ordering="created_at")
    def since(self, membership: Membership) -> str:
        return moment_in_words(membership.created_at)


class ApiTokenForm(ServiceForm):
    """A new token for a member; the row carries it to the page that shows it."""

    membership = forms.ModelChoiceField(
        label="Member",
        queryset=Membership.objects.none(),
        widget=UnfoldAdminSelectWidget(),
    )
    name = text("Name", required=True, length=120, help_text="What it is for.")
    expires_at = forms.SplitDateTimeField(
        label="Expires", required=False, widget=UnfoldAdminSplitDateTimeWidget()
    )
    by = Role.OWNER
    members: Any = None  # those that the person may give a token

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice = self.fields["membership"]
        assert isinstance(choice, forms.ModelChoiceField)
        choice.queryset = self.members

    class Meta:
        model = ApiToken
        fields = ("name",)

    def tenant_id(self) -> Any:
        return self.cleaned_data["membership"].tenant_id

    def act(self) -> ApiToken:
        now, expires_at = timezone.now(), self.cleaned_data["expires_at"]
        membership: Membership = self.cleaned_data["membership"]
        if not self.by.includes(Role(membership.role)):
            raise RoleTooLow("That member may more than you.", field="membership")
        row, token = tokens.issue_api_token(
            membership=membership,
            name=self.cleaned_data["name"],
            lifetime=None if expires_at is None else expires_at - now,
            now=now,
        )
        row.__dict__["shown_once"] = token
        return row


@admin.register(ApiToken)
class ApiTokenAdmin(IssuedTokenAdmin):
    """A member's tokens for the API."""

    list_display = ("name", "hint", "membership", "state", "expires", "made")
    list_select_related = ("membership__user", "tenant")

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = ApiTokenForm.for_person(person(request))
        form.by = role_of(request)
        form.members = visible_to(person(request), Membership).select_related("user")
        return form

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return ((None, {"fields": ("membership", "name", "expires_at")}),)


@admin.register(User)
class UserAdmin(PortalAdmin):
    """Every account of the installation, for the superuser."""

    list_display = ("email", "name", "is_active", "is_superuser", "last_login")
    list_filter = ("is_active", "is_superuser")
    search_fields = ("email", "name")
    ordering = ("email",)
    fields = ("email", "name", "is_active", "is_superuser", "last_login", "created_at")
    readonly_fields = ("email", "last_login", "created_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # people come in as somebody's members

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # an account is switched off; history keeps its name


def role_of(request: HttpRequest) -> Role:
    """As what this person acts; a superuser may what an owner may."""
    user = person(request)
    if user.is_superuser:
        return Role.OWNER
    return role_in_current_tenant(user) or Role.VIEWER
