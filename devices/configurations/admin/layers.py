"""Configurations in the portal: the layers in their order, and each in its editor."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse

from core.templatetags.portal import moment_in_words
from devices.configurations import value_formatting
from devices.configurations.admin import editor
from devices.configurations.admin.edit_target import MANAGE, address_of
from devices.configurations.documents import flattened
from devices.configurations.models import (
    DeviceConfiguration,
    PlatformConfiguration,
    Scope,
)
from devices.registry.models import Tag
from tenants.admin.base import ReadOnlyAdmin, person
from tenants.context import current_tenant_id, tenant_scope
from tenants.models import Tenant
from tenants.roles import visible_to

MOST_FREE_TAGS = 100
MOST_CHOICES = 100


@admin.register(DeviceConfiguration)
class ConfigurationAdmin(ReadOnlyAdmin):
    """What devices should be."""

    list_display = ("about", "says", "version", "saved")
    list_filter = ("scope",)
    list_select_related = ("tenant", "tag", "device")
    search_fields = ("tag__name", "device__name")
    search_help_text = "A part of the tag's or the device's name"
    ordering = ("-scope", "rank", "id")  # the weakest first
    list_before_template = "portal/configurations.html"

    def get_urls(self) -> list[Any]:
        where = "edit/<str:scope>/<str:subject_id>/"
        view = self.admin_site.admin_view
        own = [
            path(where, view(editor.edit), name="configurations_edit"),
            path(
                f"{where}preview/",
                view(editor.show_preview),
                name="configurations_preview",
            ),
            path(
                f"{where}versions/<int:number>/",
                view(editor.version),
                name="configurations_version",
            ),
            path(
                "order/<uuid:tenant_id>/",
                view(editor.put_in_order),
                name="configurations_order",
            ),
        ]
        return [*own, *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: Any = None,
    ) -> HttpResponse:
        layer = self.get_object(request, object_id)
        if layer is None or not self.has_view_permission(request, layer):
            return super().change_view(request, object_id, form_url, extra_context)
        return redirect(address_of(layer))

    def changelist_view(
        self, request: HttpRequest, extra_context: Any = None
    ) -> HttpResponse:
        tenant = self._tenant(request)
        layers = None
        if tenant is not None and self.has_view_permission(request):
            with tenant_scope(tenant.pk):
                layers = self._layers(request, tenant)
        context = {
            **(extra_context or {}),
            "layers": layers,
            "tenants_to_choose": self._choices(request) if tenant is None else [],
        }
        return super().changelist_view(request, context)

    @admin.display(description="For", ordering="scope")
    def about(self, layer: DeviceConfiguration) -> str:
        return str(layer)

    @admin.display(description="Says")
    def says(self, layer: DeviceConfiguration) -> str:
        return _says(layer.document)

    @admin.display(description="Version")
    def version(self, layer: DeviceConfiguration) -> int:
        return layer.number

    @admin.display(description="Saved", ordering="updated_at")
    def saved(self, layer: DeviceConfiguration) -> str:
        return moment_in_words(layer.updated_at)

    def _tenant(self, request: HttpRequest) -> Tenant | None:
        """Whose layers are shown in their order: the superuser's only, or chosen, one."""
        tenant_id = current_tenant_id()
        if not person(request).is_superuser:
            return Tenant.objects.filter(pk=tenant_id).first() if tenant_id else None
        chosen = request.GET.get("tenant__id__exact", "")
        known = Tenant.objects.filter(pk=chosen) if _is_uuid(chosen) else Tenant.objects
        found = list(known.all()[:2])
        return found[0] if len(found) == 1 else None

    def _choices(self, request: HttpRequest) -> list[tuple[str, str]]:
        tenants = visible_to(person(request), Tenant).order_by("name")
        return [
            (tenant.name, f"?tenant__id__exact={tenant.pk}")
            for tenant in tenants[:MOST_CHOICES]
        ]

    def _layers(self, request: HttpRequest, tenant: Tenant) -> dict[str, Any]:
        platform = PlatformConfiguration.objects.first()
        mine: QuerySet[DeviceConfiguration] = DeviceConfiguration.objects.all()
        own = mine.filter(scope=Scope.TENANT).first()
        tagged = list(DeviceConfiguration.objects.of_tags().select_related("tag"))
        may_manage = request.user.has_perm(MANAGE)
        superuser = person(request).is_superuser
        taken = [layer.tag_id for layer in tagged]
        free = Tag.objects.exclude(pk__in=taken).order_by("name")[:MOST_FREE_TAGS]
        return {
            "tenant_name": tenant.name if superuser else "",
            "platform": _says(platform.document if platform else {}),
            "platform_address": _edit("platform", "all") if superuser else "",
            "tenant": _says(own.document if own else {}),
            "tenant_address": _edit("tenant", tenant.pk),
            "tags": [
                {
                    "name": layer.tag.name if layer.tag else "",
                    "says": _says(layer.document),
                    "address": _edit("tag", layer.tag_id),
                }
                for layer in tagged
            ],
            "free_tags": [(tag.name, _edit("tag", tag.pk)) for tag in free],
            "order_address": reverse(
                "admin:configurations_order", args=[str(tenant.pk)]
            ),
            "may_manage": may_manage,
        }


def _says(document: dict[str, Any]) -> str:
    keys = sorted(flattened(document), key=value_formatting.place)
    return ", ".join(map(value_formatting.label, keys)) or "nothing"


def _edit(scope: str, subject_id: Any) -> str:
    return reverse("admin:configurations_edit", args=[scope, str(subject_id)])


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
