"""Resolve the layer that a portal page shows, and check permissions for the layer."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest
from django.urls import reverse

from devices.configurations.models import (
    AnyLayer,
    DeviceConfiguration,
    PlatformConfiguration,
    Scope,
)
from devices.configurations.services import layers
from devices.configurations.services.layers import Subject
from devices.registry.models import Device, Site, Tag
from tenants.admin.base import signed_in_user
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Tenant
from tenants.roles import visible_to

MANAGE = "configurations.change_deviceconfiguration"
VIEW = "configurations.view_deviceconfiguration"


@dataclass(frozen=True, slots=True)
class EditTarget:
    """The subject of a portal page, for example a tag, and the subject's layer if it exists."""

    subject: Subject
    subject_id: str
    tenant_id: UUID | None
    layer: AnyLayer | None

    @property
    def number(self) -> int:
        return self.layer.number if self.layer else 0

    @property
    def document(self) -> dict[str, Any]:
        return self.layer.document if self.layer else {}

    def scope(self) -> AbstractContextManager[None]:
        return tenant_scope(self.tenant_id) if self.tenant_id else every_tenant_scope()

    def url(self, name: str = "edit", *args: Any) -> str:
        url_args = [self.subject.scope, self.subject_id, *args]
        return reverse(f"admin:configurations_{name}", args=url_args)


def edit_url(layer: DeviceConfiguration) -> str:
    """Return the URL of the editor of a layer."""
    ids = {
        "site": layer.site_id,
        "tag": layer.tag_id,
        "device": layer.device_id,
        "tenant": layer.tenant_id,
    }
    url_args = [layer.scope, str(ids[layer.scope])]
    return reverse("admin:configurations_edit", args=url_args)


def resolve_target(request: HttpRequest, scope: str, subject_id: str) -> EditTarget:
    """Return the subject, and its layer, for the scope and the subject id in a URL.

    Raises:
        Http404: the subject does not exist or is not visible to the user.
        PermissionDenied: the user may not view configurations.
    """
    user = signed_in_user(request)
    if scope == Scope.PLATFORM and user.sees_every_tenant and subject_id == "all":
        layer = PlatformConfiguration.objects.first()
        return EditTarget(Subject(Scope.PLATFORM), subject_id, None, layer)
    if not request.user.has_perm(VIEW):
        raise PermissionDenied
    models: dict[str, Any] = {"tenant": Tenant, "site": Site, "tag": Tag, "device": Device}
    if scope not in models:
        raise Http404
    try:
        row = visible_to(user, models[scope]).filter(pk=subject_id).first()
    except (ValueError, TypeError, ValidationError):
        row = None
    if row is None:
        raise Http404
    fields = {} if scope == Scope.TENANT else {scope: row}
    subject = Subject(scope, **fields)
    tenant_id = row.pk if scope == Scope.TENANT else row.tenant_id
    with tenant_scope(tenant_id):
        return EditTarget(subject, str(row.pk), tenant_id, layers.layer_of(subject))


def may_manage(request: HttpRequest, scope: str) -> bool:
    if scope == Scope.PLATFORM:
        return signed_in_user(request).sees_every_tenant
    return request.user.has_perm(MANAGE)


def require_manage(request: HttpRequest, scope: str) -> None:
    if not may_manage(request, scope):
        raise PermissionDenied
