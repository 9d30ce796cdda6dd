"""Whose layer a page of the portal is about, and what the person may do with it."""

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
from devices.registry.models import Device, Tag
from tenants.admin.base import person
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Tenant
from tenants.roles import visible_to

MANAGE = "configurations.change_deviceconfiguration"
VIEW = "configurations.view_deviceconfiguration"


@dataclass(frozen=True, slots=True)
class Edited:
    """What a page is about: whose layer, and the layer if there is one."""

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

    def address(self, name: str = "edit", *args: Any) -> str:
        where = [self.subject.scope, self.subject_id, *args]
        return reverse(f"admin:configurations_{name}", args=where)


def address_of(layer: DeviceConfiguration) -> str:
    """Where a layer is edited."""
    ids = {"tag": layer.tag_id, "device": layer.device_id, "tenant": layer.tenant_id}
    where = [layer.scope, str(ids[layer.scope])]
    return reverse("admin:configurations_edit", args=where)


def found(request: HttpRequest, scope: str, subject_id: str) -> Edited:
    """
    Raises:
        Http404: there is no such subject, or it is not this person's.
        PermissionDenied: they may not look at configurations.
    """
    user = person(request)
    if scope == Scope.PLATFORM and user.is_superuser and subject_id == "all":
        layer = PlatformConfiguration.objects.first()
        return Edited(Subject(Scope.PLATFORM), subject_id, None, layer)
    if not request.user.has_perm(VIEW):
        raise PermissionDenied
    models: dict[str, Any] = {"tenant": Tenant, "tag": Tag, "device": Device}
    if scope not in models:
        raise Http404
    try:
        row = visible_to(user, models[scope]).filter(pk=subject_id).first()
    except (ValueError, TypeError, ValidationError):
        row = None
    if row is None:
        raise Http404
    named = {} if scope == Scope.TENANT else {scope: row}
    subject = Subject(scope, **named)
    tenant_id = row.pk if scope == Scope.TENANT else row.tenant_id
    with tenant_scope(tenant_id):
        return Edited(subject, str(row.pk), tenant_id, layers.layer_of(subject))


def may_manage(request: HttpRequest, scope: str) -> bool:
    if scope == Scope.PLATFORM:
        return person(request).is_superuser
    return request.user.has_perm(MANAGE)


def refuse_viewers(request: HttpRequest, scope: str) -> None:
    if not may_manage(request, scope):
        raise PermissionDenied
