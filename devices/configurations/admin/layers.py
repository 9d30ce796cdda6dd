"""Admin class for configurations: the list of layers and the URLs of the editor."""

from operator import itemgetter
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Case, IntegerField, Q, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse

from devices.configurations import value_formatting
from devices.configurations.admin import editor
from devices.configurations.admin.edit_target import MANAGE, edit_url
from devices.configurations.documents import flatten
from devices.configurations.models import DeviceConfiguration, PlatformConfiguration, Scope
from devices.registry.models import Site, Tag
from tenants.admin.base import ReadOnlyAdmin, signed_in_user
from tenants.admin.columns import time_column
from tenants.context import current_tenant_id, tenant_scope
from tenants.models import Tenant
from tenants.roles import visible_to

MAX_UNUSED = 100  # tags, and sites, without a layer
MAX_SITES = 200
WEAKEST_FIRST = Case(
    *(When(scope=scope, then=Value(number)) for number, scope in enumerate(Scope.values)),
    output_field=IntegerField(),
)
MAX_TENANTS = 100


@admin.register(DeviceConfiguration)
class ConfigurationAdmin(ReadOnlyAdmin):
    """List of a tenant's layers. Each row is a link to the editor of the layer."""

    list_display = ("subject", "keys", "version", "saved")
    list_filter = ("scope",)
    list_select_related = ("tenant", "tag", "device", "site")
    search_fields = ("tag__name", "device__name", "site__name")
    search_help_text = "Part of the site's, tag's or device's name"
    ordering: Any = (WEAKEST_FIRST, "rank", "id")
    list_before_template = "portal/configurations.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        of_deleted_sites = Q(scope=Scope.SITE, site=None)
        return super().get_queryset(request).exclude(of_deleted_sites)

    def get_urls(self) -> list[Any]:
        route = "edit/<str:scope>/<str:subject_id>/"
        view = self.admin_site.admin_view
        urls = [
            path(route, view(editor.edit), name="configurations_edit"),
            path(f"{route}preview/", view(editor.show_preview), name="configurations_preview"),
            path(
                f"{route}versions/<int:number>/",
                view(editor.version),
                name="configurations_version",
            ),
            path("order/<uuid:tenant_id>/", view(editor.put_in_order), name="configurations_order"),
        ]
        return [*urls, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        layer = self.get_object(request, object_id)
        if layer is None or not self.has_view_permission(request, layer):
            return super().change_view(request, object_id, form_url, extra_context)
        return redirect(edit_url(layer))

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        tenant = self._tenant(request)
        layers = None
        if tenant is not None and self.has_view_permission(request):
            with tenant_scope(tenant.pk):
                layers = self._layers(request, tenant)
        context = {
            **(extra_context or {}),
            "layers": layers,
            "tenants_to_choose": self._tenant_choices(request) if tenant is None else [],
        }
        return super().changelist_view(request, context)

    @admin.display(description="Applies to", ordering="scope")
    def subject(self, layer: DeviceConfiguration) -> str:
        return str(layer)

    @admin.display(description="Keys")
    def keys(self, layer: DeviceConfiguration) -> str:
        return _key_labels(layer.document)

    @admin.display(description="Version")
    def version(self, layer: DeviceConfiguration) -> int:
        return layer.number

    saved = time_column("Saved", "updated_at", is_sortable=True)

    def _tenant(self, request: HttpRequest) -> Tenant | None:
        """Return the tenant whose layers are shown in order.

        A superuser chooses the tenant. If a superuser has chosen no tenant, the only tenant of
        the installation is returned, or None if there are several.
        """
        tenant_id = current_tenant_id()
        if not signed_in_user(request).sees_every_tenant:
            return Tenant.objects.filter(pk=tenant_id).first() if tenant_id else None
        chosen = request.GET.get("tenant__id__exact", "")
        rows = Tenant.objects.filter(pk=chosen) if _is_uuid(chosen) else Tenant.objects
        tenants = list(rows.all()[:2])
        return tenants[0] if len(tenants) == 1 else None

    def _tenant_choices(self, request: HttpRequest) -> list[tuple[str, str]]:
        tenants = visible_to(signed_in_user(request), Tenant).order_by("name")
        return [
            (tenant.name, f"?tenant__id__exact={tenant.pk}") for tenant in tenants[:MAX_TENANTS]
        ]

    def _layers(self, request: HttpRequest, tenant: Tenant) -> dict[str, Any]:
        platform = PlatformConfiguration.objects.first()
        layers = DeviceConfiguration.objects.all()
        tenant_layer = layers.filter(scope=Scope.TENANT).first()
        tag_layers = list(DeviceConfiguration.objects.of_tags().select_related("tag"))
        is_superuser = signed_in_user(request).sees_every_tenant
        sites = _sites_with_layers()
        unused_sites = Site.objects.exclude(pk__in=[layer.site_id for _, layer in sites])
        used = [layer.tag_id for layer in tag_layers]
        unused = Tag.objects.exclude(pk__in=used).order_by("name")[:MAX_UNUSED]
        return {
            "tenant_name": tenant.name if is_superuser else "",
            "platform": _key_labels(platform.document if platform else {}),
            "platform_url": _edit_url("platform", "all") if is_superuser else "",
            "tenant": _key_labels(tenant_layer.document if tenant_layer else {}),
            "tenant_url": _edit_url("tenant", tenant.pk),
            "sites": [
                {
                    "name": " / ".join(names),
                    "keys": _key_labels(layer.document),
                    "url": _edit_url("site", layer.site_id),
                }
                for names, layer in sites
            ],
            "unused_sites": [
                (site.name, _edit_url("site", site.pk))
                for site in unused_sites.order_by("name")[:MAX_UNUSED]
            ],
            "tags": [
                {
                    "name": layer.tag.name if layer.tag else "",
                    "keys": _key_labels(layer.document),
                    "url": _edit_url("tag", layer.tag_id),
                }
                for layer in tag_layers
            ],
            "unused_tags": [(tag.name, _edit_url("tag", tag.pk)) for tag in unused],
            "order_url": reverse("admin:configurations_order", args=[str(tenant.pk)]),
            "may_manage": request.user.has_perm(MANAGE),
        }


def _sites_with_layers() -> list[tuple[list[str], DeviceConfiguration]]:
    """Return the layers of sites, each with the names of the sites from the top level."""
    layers = list(
        DeviceConfiguration.objects.filter(scope=Scope.SITE)
        .select_related("site")
        .order_by("site__name")[:MAX_SITES]
    )
    ids = {pk for layer in layers if layer.site for pk in layer.site.path}
    names = dict(Site.objects.filter(pk__in=ids).values_list("pk", "name"))
    paths = [([names[pk] for pk in layer.site.path], layer) for layer in layers if layer.site]
    return sorted(paths, key=itemgetter(0))


def _key_labels(document: dict[str, Any]) -> str:
    keys = sorted(flatten(document), key=value_formatting.sort_key)
    return ", ".join(map(value_formatting.label, keys)) or "no keys"


def _edit_url(scope: str, subject_id: Any) -> str:
    return reverse("admin:configurations_edit", args=[scope, str(subject_id)])


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
