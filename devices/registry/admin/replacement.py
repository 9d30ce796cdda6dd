"""Portal page on which a member chooses the new hardware that replaces a device."""

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import action

from core import clock
from core.errors import DomainError
from devices.registry.models import Device
from devices.registry.services import replacement
from tenants.context import tenant_scope

MAX_CHOICES = 50  # newest devices that the page offers


class ReplacementPage:
    """Mixin of the admin class of devices."""

    @action(description="Replace", url_path="replace", permissions=["change"])
    def replace_one(self: Any, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Let new hardware take over the record of a device."""
        device = self.get_object(request, str(object_id))
        if device is None:
            return redirect("admin:index")
        with tenant_scope(device.tenant_id):
            if request.method == "POST":
                try:
                    return redirect(_url(_replace(device, request.POST.get("replacement", ""))))
                except DomainError as error:
                    messages.error(request, str(error))
            newest = Device.objects.not_retired().filter(predecessor=None).exclude(pk=device.pk)
            context = {
                **self.admin_site.each_context(request),
                "title": f"Replace {device.name}",
                "opts": self.opts,
                "device": device,
                "choices": list(newest.prefetch_related("identifiers")[:MAX_CHOICES]),
                "back": _url(device),
            }
        return TemplateResponse(request, "portal/replace_device.html", context)

    @admin.display(description="Replaces")
    def replaces(self, device: Device) -> str:
        row = getattr(device, "predecessor", None)
        return _link(row.failed) if row else "-"

    @admin.display(description="Replaced by")
    def replaced_by(self, device: Device) -> str:
        row = getattr(device, "replacement", None)
        return _link(row.successor) if row else "-"


def _replace(failed: Device, chosen: str) -> Device:
    """Replace a device.

    Raises:
        DomainError: no device was chosen, or it cannot replace the device.
    """
    try:
        successor = Device.objects.filter(pk=UUID(chosen)).first()
    except ValueError:
        successor = None
    if successor is None:
        raise DomainError("Choose the new device.")
    return replacement.replace(failed=failed, by=successor, now=clock.now())


def _url(device: Device) -> str:
    return reverse("admin:devices_device_change", args=[device.pk])


def _link(device: Device) -> str:
    return format_html('<a href="{}">{}</a>', _url(device), device.name)
