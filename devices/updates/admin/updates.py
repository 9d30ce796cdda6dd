"""Portal admin of products, packages, rollouts, updates of devices and policies."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path
from unfold.decorators import display

from core.templatetags.portal import relative_time
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
from tenants.admin.base import (
    PageAdmin,
    ReadOnlyAdmin,
    SingleDeleteAdmin,
    SingletonAdmin,
    signed_in_user,
)
from tenants.admin.columns import choice_column, time_column
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


@admin.register(SoftwareProduct)
class ProductAdmin(SingleDeleteAdmin):
    """Products."""

    list_display = ("name", "versioning", "reports", "file_format")
    list_select_related = ("tenant",)
    ordering = ("name",)
    service_form = ProductForm
    fields = ("name", "versioning", "reports", "file_format")

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with tenant_scope(obj.tenant_id):
            products.delete(product=obj)


@admin.register(SoftwareUpdate)
class PackageAdmin(PageAdmin, SingleDeleteAdmin):
    """Packages. The page of a package has the actions upload, release and withdraw."""

    list_display = ("package_name", "state_label", "file_size", "model_names", "created")
    list_filter = ("state",)
    list_select_related = ("tenant", "product")
    search_fields = ("version__istartswith", "product__name__istartswith")
    ordering = ("-created_at", "-id")
    fields = ("product", "version", "changelog", "platform", "target_models", "minimum_version")
    change_form_outer_before_template = "portal/package.html"

    class Media:
        js = ("portal/upload.js",)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        if obj is not None and not self.has_change_permission(request, obj):
            return super().get_form(request, obj, change, **kwargs)
        form = PackageForm.for_user(signed_in_user(request))
        form.user = signed_in_user(request)
        return form

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        is_fixed = obj is not None and obj.state != SoftwareUpdate.State.DRAFT
        return not is_fixed and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with tenant_scope(obj.tenant_id):
            packages.delete(package=obj)

    def get_urls(self) -> list[Any]:
        view, row_path = self.admin_site.admin_view, "<uuid:package_id>"
        own = [
            path(f"{row_path}/file/", view(package_pages.upload), name="updates_package_file"),
            path(f"{row_path}/act/", view(package_pages.act), name="updates_package_act"),
        ]
        return [*own, *super().get_urls()]

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return package_pages.page_context(request, row)

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: Any = None
    ) -> HttpResponse:
        """Redirect to the page on which the file of the new package is uploaded."""
        messages.success(request, "The draft was created. Upload its file now.")
        return redirect(package_pages.change_url(obj))

    @admin.display(description="Package")
    def package_name(self, row: SoftwareUpdate) -> str:
        return str(row)

    state_label = choice_column("State", "state", STATES)

    @admin.display(description="File")
    def file_size(self, row: SoftwareUpdate) -> str:
        return package_pages.size_text(row.size)

    @admin.display(description="Device models")
    def model_names(self, row: SoftwareUpdate) -> str:
        return ", ".join(row.target_models) or "all models"

    created = time_column("Created", "created_at", is_sortable=True)


@admin.register(Deployment)
class RolloutAdmin(PageAdmin, ReadOnlyAdmin):
    """Rollouts. The page of a rollout shows its progress and its actions."""

    list_display = ("name", "package_name", "state_label", "completed", "created")
    list_filter = ("state",)
    list_select_related = ("tenant", "package", "product")
    search_fields = ("name",)
    ordering = ("-created_at", "-id")
    change_form_outer_before_template = "portal/rollout.html"

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return ((None, {"fields": ()}),)  # the template shows everything

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("waves")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(rollout_pages.ADD)

    def get_urls(self) -> list[Any]:
        view, row_path = self.admin_site.admin_view, "<uuid:rollout_id>"
        own = [
            path(
                f"{row_path}/terms/",
                view(rollout_pages.change_settings),
                name="updates_rollout_terms",
            ),
            path(f"{row_path}/act/", view(rollout_pages.act), name="updates_rollout_act"),
        ]
        return [*own, *super().get_urls()]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        return rollout_pages.add_rollout(request)

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return rollout_pages.page_context(request, row)

    @admin.display(description="Package")
    def package_name(self, row: Deployment) -> str:
        if row.package is None:
            return f"{row.product} (rollback)"
        return f"{row.product} {row.package.version}"

    state_label = choice_column("State", "state", STATES)

    @admin.display(description="Progress")
    def completed(self, row: Deployment) -> str:
        return progress.completed_text(row)

    created = time_column("Created", "created_at", is_sortable=True)


@admin.register(UpdateStatus)
class StatusAdmin(ReadOnlyAdmin):
    """The updates of devices. Each update has a status."""

    list_display = ("device_name", "rollout_name", "status_label", "error_text", "last_report")
    list_filter = ("status",)
    linked_filters = ("deployment__id__exact", "device__id__exact", "error_code__exact")
    list_select_related = ("tenant", "device", "deployment")
    ordering = ("-opened_at", "-id")
    fields: Any = (
        "device",
        "deployment",
        "status_label",
        "progress",
        "attempt",
        "version",
        "from_version",
        "error_code",
        "error",
        "opened_at",
        "started_at",
        "heard_at",
        "installed_at",
        "ended_at",
    )
    readonly_fields = fields

    @admin.display(description="Device")
    def device_name(self, row: UpdateStatus) -> str:
        return row.device.name

    @admin.display(description="Rollout")
    def rollout_name(self, row: UpdateStatus) -> str:
        return row.deployment.name

    @display(description="Status", label=STATUSES)
    def status_label(self, row: UpdateStatus) -> tuple[str, str]:
        label = row.get_status_display()
        is_under_way = row.status in ("downloading", "installing")
        return row.status, f"{label} {row.progress} %" if is_under_way else label

    @admin.display(description="Error")
    def error_text(self, row: UpdateStatus) -> str:
        return row.error or "-"

    @admin.display(description="Last report")
    def last_report(self, row: UpdateStatus) -> str:
        return relative_time(row.ended_at or row.heard_at, never="not yet")


@admin.register(UpdatePolicy)
class PolicyAdmin(SingletonAdmin):
    """The update policy of each tenant."""

    list_display = ("policy_name", "approval_above", "concurrent_downloads")
    list_select_related = ("tenant",)
    ordering = ("tenant",)
    default_message = "No policy is set. The defaults apply."
    service_form = UpdatePolicyForm
    fields = ("approval_above", "concurrent_downloads")

    @admin.display(description="Policy")
    def policy_name(self, row: UpdatePolicy) -> str:
        return str(row)
