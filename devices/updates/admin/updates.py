"""Software updates in the portal: products, packages, rollouts, how far devices are."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path
from unfold.decorators import display

from core.errors import DomainError
from core.templatetags.portal import moment_in_words
from devices.updates.admin import package_pages, rollout_pages
from devices.updates.admin.forms import PackageForm, ProductForm, UpdatePolicyForm
from devices.updates.models import (
    Deployment,
    SoftwareProduct,
    SoftwareUpdate,
    UpdatePolicy,
    UpdateStatus,
)
from devices.updates.services import packages, products, progress
from tenants.admin.base import OneRowAdmin, PortalAdmin, ReadOnlyAdmin, list_url, person
from tenants.context import tenant_scope

STATES = {
    "draft": "default",
    "waiting": "warning",
    "scheduled": "info",
    "running": "info",
    "paused": "warning",
    "finished": "success",
    "aborted": "danger",
    "released": "success",
    "withdrawn": "danger",
}
STATUSES = {
    "completed": "success",
    "failed": "danger",
    "downloading": "info",
    "installing": "info",
    "rolled_back": "warning",
}


class FormAdmin(PortalAdmin):
    """Its form calls the service."""


class SingleDeleteAdmin(FormAdmin):
    """One row is dropped at a time, on its own page, where it is said why it is not."""

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        try:
            return super().delete_view(request, object_id, extra_context)
        except DomainError as error:
            messages.error(request, str(error))
            return redirect(list_url(self))


@admin.register(SoftwareProduct)
class ProductAdmin(SingleDeleteAdmin):
    """What is installed on devices and comes in versions."""

    list_display = ("name", "versioning", "reports")
    list_select_related = ("tenant",)
    ordering = ("name",)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        return ProductForm.for_person(person(request))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        first = ("tenant",) if obj is None and person(request).is_superuser else ()
        return ((None, {"fields": (*first, "name", "versioning", "reports")}),)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with tenant_scope(obj.tenant_id):
            products.delete(product=obj)


@admin.register(SoftwareUpdate)
class PackageAdmin(SingleDeleteAdmin):
    """Packages: a version of a product each, with its file."""

    list_display = ("shown", "shown_state", "shown_size", "for_models", "created")
    list_filter = ("state",)
    list_select_related = ("tenant", "product")
    search_fields = ("version__istartswith", "product__name__istartswith")
    ordering = ("-created_at", "-id")
    change_form_outer_before_template = "portal/package.html"

    class Media:
        js = ("portal/upload.js",)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        if obj is not None and not self.has_change_permission(request, obj):
            return super().get_form(request, obj, change, **kwargs)
        form = PackageForm.for_person(person(request))
        form.user = person(request)
        return form

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = (
            *("product", "version", "changelog", "platform", "target_models"),
            "minimum_version",
        )
        return ((None, {"fields": fields}),)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        is_fixed = obj is not None and obj.state != SoftwareUpdate.State.DRAFT
        return not is_fixed and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with tenant_scope(obj.tenant_id):
            packages.delete(package=obj)

    def get_urls(self) -> list[Any]:
        view, where = self.admin_site.admin_view, "<uuid:package_id>"
        own = [
            path(
                f"{where}/file/",
                view(package_pages.upload),
                name="updates_package_file",
            ),
            path(f"{where}/act/", view(package_pages.act), name="updates_package_act"),
        ]
        return [*own, *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: Any = None,
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        context = dict(extra_context or {})
        if row is not None and self.has_view_permission(request, row):
            with tenant_scope(row.tenant_id):
                context |= package_pages.page_context(request, row)
        return super().change_view(request, object_id, form_url, context)

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: Any = None
    ) -> HttpResponse:
        """On to its file."""
        messages.success(request, "A draft: now upload its file.")
        return redirect(package_pages.change_url(obj))

    @admin.display(description="Package")
    def shown(self, row: SoftwareUpdate) -> str:
        return str(row)

    @display(description="State", label=STATES)
    def shown_state(self, row: SoftwareUpdate) -> tuple[str, str]:
        return row.state, row.get_state_display()

    @admin.display(description="File")
    def shown_size(self, row: SoftwareUpdate) -> str:
        return package_pages.size_text(row.size)

    @admin.display(description="For")
    def for_models(self, row: SoftwareUpdate) -> str:
        return ", ".join(row.target_models) or "every model"

    @admin.display(description="Made", ordering="created_at")
    def created(self, row: SoftwareUpdate) -> str:
        return moment_in_words(row.created_at)


@admin.register(Deployment)
class RolloutAdmin(ReadOnlyAdmin):
    """Rollouts: a package for many devices, wave by wave."""

    list_display = ("name", "what", "shown_state", "reached", "created")
    list_filter = ("state",)
    list_select_related = ("tenant", "package", "product")
    search_fields = ("name",)
    ordering = ("-created_at", "-id")
    change_form_outer_before_template = "portal/rollout.html"
    fields: Any = (
        *("created_by", "created_at", "requested_by", "approved_by", "begun_at"),
        *("ended_at", "id"),
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("waves")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(rollout_pages.ADD)

    def get_urls(self) -> list[Any]:
        view, where = self.admin_site.admin_view, "<uuid:rollout_id>"
        own = [
            path(
                f"{where}/terms/",
                view(rollout_pages.terms),
                name="updates_rollout_terms",
            ),
            path(f"{where}/act/", view(rollout_pages.act), name="updates_rollout_act"),
        ]
        return [*own, *super().get_urls()]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        return rollout_pages.new(request)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: Any = None,
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        context = dict(extra_context or {})
        if row is not None and self.has_view_permission(request, row):
            with tenant_scope(row.tenant_id):
                context |= rollout_pages.page_context(request, row)
        return super().change_view(request, object_id, form_url, context)

    @admin.display(description="Package")
    def what(self, row: Deployment) -> str:
        if row.package is None:
            return f"{row.product}, back"
        return f"{row.product} {row.package.version}"

    @display(description="State", label=STATES)
    def shown_state(self, row: Deployment) -> tuple[str, str]:
        return row.state, row.get_state_display()

    @admin.display(description="Done")
    def reached(self, row: Deployment) -> str:
        return progress.completed_text(row)

    @admin.display(description="Made", ordering="created_at")
    def created(self, row: Deployment) -> str:
        return moment_in_words(row.created_at)


@admin.register(UpdateStatus)
class StatusAdmin(ReadOnlyAdmin):
    """How far each device has come."""

    list_display = ("on", "what", "shown_status", "trouble", "moved")
    list_filter = ("status",)
    list_select_related = ("tenant", "device", "deployment")
    ordering = ("-opened_at", "-id")
    fields: Any = (
        *("device", "deployment", "shown_status", "progress", "attempt", "version"),
        *("from_version", "error_code", "error", "opened_at", "started_at"),
        *("heard_at", "installed_at", "ended_at"),
    )
    readonly_fields = fields

    def lookup_allowed(self, lookup: str, value: str, request: Any = None) -> bool:
        """Lists of one rollout, of one of its errors, and of one device are linked to."""
        linked = (
            *("deployment__id__exact", "device__id__exact"),
            *("error_code__exact", "status__exact"),
        )
        return lookup in linked or super().lookup_allowed(lookup, value, request)

    @admin.display(description="Device")
    def on(self, row: UpdateStatus) -> str:
        return row.device.name

    @admin.display(description="Rollout")
    def what(self, row: UpdateStatus) -> str:
        return row.deployment.name

    @display(description="State", label=STATUSES)
    def shown_status(self, row: UpdateStatus) -> tuple[str, str]:
        label = row.get_status_display()
        is_under_way = row.status in ("downloading", "installing")
        return row.status, f"{label} {row.progress} %" if is_under_way else label

    @admin.display(description="Error")
    def trouble(self, row: UpdateStatus) -> str:
        return row.error or "-"

    @admin.display(description="Last heard of")
    def moved(self, row: UpdateStatus) -> str:
        return moment_in_words(row.ended_at or row.heard_at, never="not yet")


@admin.register(UpdatePolicy)
class PolicyAdmin(OneRowAdmin):
    """When a second person is asked, and how many download at a time."""

    list_display = ("shown", "approval_above", "concurrent_downloads")
    list_select_related = ("tenant",)
    ordering = ("tenant",)
    usual = "Nobody has said otherwise: the usual limits hold."

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        return UpdatePolicyForm.for_person(person(request))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        first = ("tenant",) if obj is None and person(request).is_superuser else ()
        fields = (*first, "approval_above", "concurrent_downloads")
        return ((None, {"fields": fields}),)

    @admin.display(description="Policy")
    def shown(self, row: UpdatePolicy) -> str:
        return str(row)
