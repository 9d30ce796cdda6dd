"""Portal pages of tenants: their settings, appearance, suspension and export."""

from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import action
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminTextInputWidget

from accounts.events import TenantExported
from accounts.middleware import tenant_address
from accounts.services import branding, suspension, tenant_archive, tenant_deletion, tenants
from core import clock
from core.errors import DomainError
from core.limits import Limit
from core.times import local_text
from events.services.outbox import record
from tenants.admin.base import PortalAdmin, secret_page, signed_in_user
from tenants.admin.columns import time_column
from tenants.admin.forms import ServiceForm, switch_field, text_field
from tenants.context import tenant_scope
from tenants.models import Tenant

EXPORTS = Limit("export")
CHANGED = ("name", "requires_second_factor", "accepts_mqtt", "brand_name", "brand_color")
OF_EXISTING = (*CHANGED[1:], "logo", "removes_logo")


class TenantForm(ServiceForm):
    """Add a tenant with its owner, or change a tenant."""

    slug = text_field(
        "Slug",
        required=True,
        help_text="Name of the tenant in commands: letters, digits, hyphens and"
        " underscores. It cannot be changed later.",
    )
    name = text_field("Name", required=True, length=120)
    owner = text_field(
        "Owner's e-mail address",
        length=254,
        help_text="The user becomes a member with the role owner. A new user gets a password,"
        " which is shown once.",
    )
    requires_second_factor = switch_field(
        "Second factor required",
        help_text="Members must set up a second factor before they can use the portal.",
    )
    accepts_mqtt = switch_field(
        "MQTT", help_text="Devices may send messages over MQTT, if this installation has a broker."
    )

    brand_name = text_field(
        "Name of the portal", length=40, help_text="Shown at the top left. If empty: provisioning."
    )
    brand_color = forms.CharField(
        label="Colour",
        required=False,
        max_length=7,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "#0a5c9e"}),
        help_text="Of buttons and links, such as #0a5c9e. White text must be readable on it.",
    )
    logo = forms.FileField(
        label="Logo",
        required=False,
        widget=UnfoldAdminFileFieldWidget(),
        help_text="A PNG, JPEG or WebP image of at most 2 MB. It is shown small.",
    )
    removes_logo = switch_field("Remove the logo")

    class Meta:
        model = Tenant
        fields = (
            "slug",
            "name",
            "requires_second_factor",
            "accepts_mqtt",
            "brand_name",
            "brand_color",
        )

    def call_service(self) -> Tenant:
        values = self.cleaned_data
        if self.instance.pk and not self.instance._state.adding:
            return self._update(values)
        new = tenants.create_tenant(
            slug=values["slug"],
            name=values["name"],
            owner_email=values["owner"] or None,
            with_token=False,
            now=clock.now(),
        )
        new.tenant.__dict__["shown_once"] = {"Password": new.password} if new.password else {}
        return new.tenant

    @transaction.atomic
    def _update(self, values: dict[str, Any]) -> Tenant:
        tenant, now = self.instance, clock.now()
        if values["logo"] or values["removes_logo"]:
            with tenant_scope(tenant.pk):
                branding.set_logo(tenant=tenant, file=values["logo"], now=now)
        return tenants.update_tenant(
            tenant=tenant, now=now, **{name: values[name] for name in CHANGED}
        )


@admin.register(Tenant)
class TenantAdmin(PortalAdmin):
    """All tenants for superusers. Members see their own tenant, and owners may change it."""

    list_display = ("name", "slug", "requires_second_factor", "made", "enter")
    search_fields = ("name", "slug")
    ordering = ("slug",)

    actions_detail: Any = ("export", "suspend", "resume", "delete_tenant")

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = TenantForm.for_user(signed_in_user(request))
        unused = ("slug", "owner") if obj else OF_EXISTING
        for name in unused:
            del form.base_fields[name]
        return form

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ((None, {"fields": ("slug", "name", "owner")}),)
        return (
            (None, {"fields": ("name", "requires_second_factor", "accepts_mqtt")}),
            ("Appearance", {"fields": ("brand_name", "brand_color", "logo", "removes_logo")}),
            ("State", {"fields": ("state", "limits")}),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("state", "limits") if obj else ()

    @admin.display(description="State")
    def state(self, tenant: Tenant) -> str:
        if tenant.suspended_at is None:
            return "Active"
        by = " by the operator" if tenant.is_suspended_by_operator else ""
        return f"Suspended{by} since {local_text(tenant.suspended_at)}. {tenant.suspension_reason}"

    @admin.display(description="Limits")
    def limits(self, tenant: Tenant) -> str:
        rates = {"requests": settings.RATES["tenant"], "samples": settings.RATES["tenant_samples"]}
        return ", ".join(
            f"{rate.most * 60 // rate.seconds:,} {name} of all devices a minute"
            for name, rate in rates.items()
            if rate
        )

    @action(description="Export", url_path="export", permissions=["change"])
    def export(self, request: HttpRequest, object_id: UUID) -> HttpResponseBase:
        """Download everything that the tenant owns."""
        tenant = self.get_object(request, str(object_id))
        if tenant is None:
            return redirect("admin:tenants_tenant_changelist")
        if wait := EXPORTS.spend(str(tenant.pk)):
            minutes = 1 + int(wait // 60)
            messages.error(request, f"Exports are limited. Try again in {minutes} minutes.")
            return redirect("admin:tenants_tenant_change", tenant.pk)
        now = clock.now()
        with tenant_scope(tenant.pk):
            with transaction.atomic():
                record([TenantExported(tenant_id=tenant.pk, at=now)])
            pieces = tenant_archive.chunks(tenant, with_samples=False, now=now)
        response = StreamingHttpResponse(pieces, content_type="application/zip")
        response["Content-Disposition"] = f'attachment; filename="{tenant.slug}-{now:%Y%m%d}.zip"'
        response["Cache-Control"] = "no-store"
        return response

    @action(description="Suspend", url_path="suspend", permissions=["suspend"])
    def suspend(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Ask, then suspend the tenant."""
        tenant = self.get_object(request, str(object_id))
        if tenant is None:
            return redirect("admin:tenants_tenant_changelist")
        if request.method == "POST":
            return self._change_state(request, tenant, suspends=True)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Suspend {tenant.name}",
            "tenant": tenant,
            "opts": self.opts,
        }
        return TemplateResponse(request, "portal/suspend.html", context)

    @action(description="Resume", url_path="resume", permissions=["resume"])
    def resume(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Let a suspended tenant work again."""
        tenant = self.get_object(request, str(object_id))
        if tenant is None:
            return redirect("admin:tenants_tenant_changelist")
        if request.method == "POST":
            return self._change_state(request, tenant, suspends=False)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Resume {tenant.name}",
            "text": "Its devices and members are accepted again. If it was to be deleted, it is kept.",
            "button": "Resume",
            "back": reverse("admin:tenants_tenant_change", args=[tenant.pk]),
        }
        return TemplateResponse(request, "portal/ask.html", context)

    @action(description="Delete", url_path="delete-tenant", permissions=["delete_tenant"])
    def delete_tenant(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Ask for the slug, then let the tenant be deleted after the waiting time."""
        tenant = self.get_object(request, str(object_id))
        if tenant is None:
            return redirect("admin:tenants_tenant_changelist")
        if request.method == "POST":
            try:
                with tenant_scope(tenant.pk):
                    tenant_deletion.request(
                        tenant=tenant,
                        typed_slug=request.POST.get("slug", ""),
                        by_operator=signed_in_user(request).is_superuser,
                        now=clock.now(),
                    )
                return redirect("admin:tenants_tenant_change", tenant.pk)
            except DomainError as error:
                messages.error(request, str(error))
        context = {
            **self.admin_site.each_context(request),
            "title": f"Delete {tenant.name}",
            "tenant": tenant,
            "days": tenant_deletion.WAITING_TIME.days,
            "opts": self.opts,
        }
        return TemplateResponse(request, "portal/delete_tenant.html", context)

    def _change_state(
        self, request: HttpRequest, tenant: Tenant, *, suspends: bool
    ) -> HttpResponse:
        by_operator = signed_in_user(request).is_superuser
        try:
            with tenant_scope(tenant.pk):
                if suspends:
                    reason = request.POST.get("reason", "")
                    suspension.suspend(
                        tenant=tenant, reason=reason, by_operator=by_operator, now=clock.now()
                    )
                else:
                    suspension.resume(tenant=tenant, by_operator=by_operator, now=clock.now())
        except DomainError as error:
            messages.error(request, str(error))
        return redirect("admin:tenants_tenant_change", tenant.pk)

    def has_suspend_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self.has_change_permission(request) and not self._is_suspended(request, object_id)

    def has_delete_tenant_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self.has_change_permission(request)

    def has_resume_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self.has_change_permission(request) and self._is_suspended(request, object_id)

    def _is_suspended(self, request: HttpRequest, object_id: Any) -> bool:
        tenant = self.get_object(request, str(object_id)) if object_id else None
        return tenant is not None and tenant.suspended_at is not None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return signed_in_user(request).sees_every_tenant

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def response_add(
        self, request: HttpRequest, obj: Tenant, post_url_continue: Any = None
    ) -> HttpResponse:
        secrets = obj.__dict__.pop("shown_once", {})
        if not secrets:
            return super().response_add(request, obj, post_url_continue)
        title = f"Owner of {obj.name}"
        return secret_page(self, request, title=title, secrets=secrets)

    made = time_column("Created", "created_at", is_sortable=True)

    @admin.display(description="Portal")
    def enter(self, tenant: Tenant) -> str:
        return format_html('<a href="{}">Enter</a>', tenant_address(tenant.slug))
