"""The portal page of a device: a header, and tabs that are loaded when they are opened."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from devices.registry.admin.quarantine import is_uuid
from devices.registry.extension_points import device_header, device_page, tab_of
from devices.registry.models import Device
from events.models import Event
from tenants.admin.base import PortalAdmin, signed_in_user
from tenants.context import tenant_scope
from tenants.roles import visible_to

HISTORY_ROWS = 50
RELATED = (
    "tenant",
    "site",
    "hardware",
    "reregistration",
    "predecessor__failed",
    "replacement__successor",
    "attributes",
)
OVERVIEW = "overview"
HISTORY = "history"


@dataclass(frozen=True, slots=True)
class Tab:
    """A tab. Members with the permission see it."""

    key: str
    label: str
    permission: str


TABS = (
    Tab(OVERVIEW, "Overview", "devices.view_device"),
    Tab("metrics", "Metrics", "devices.view_device"),
    Tab("alerts", "Alerts", "monitoring.view_alert"),
    Tab("configuration", "Configuration", "configurations.view_deviceconfiguration"),
    Tab("settings", "Settings", "preferences.view_preferencedefinition"),
    Tab("control", "Control", "remote_control.view_remotecontrolsession"),
    Tab("updates", "Updates", "updates.view_deployment"),
    Tab("certificates", "Certificates", "certificates.view_devicecertificate"),
    Tab(HISTORY, "History", "events.view_event"),
)


class TabbedPage(PortalAdmin):
    """Mixin of the admin class of devices. The tab is the parameter `tab` of the address."""

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        """Return a device with the rows that its page shows. It is loaded once in a request."""
        loaded: dict[str, Any] = request.__dict__.setdefault("_devices", {})
        if object_id not in loaded:
            rows = self.get_queryset(request).select_related(*RELATED)
            loaded[object_id] = rows.filter(pk=object_id).first() if is_uuid(object_id) else None
        return loaded[object_id]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        device = self.get_object(request, object_id)
        if device is None or not self.has_view_permission(request, device):
            return super().change_view(request, object_id, form_url, extra_context)
        tabs = [tab for tab in TABS if request.user.has_perm(tab.permission)]
        chosen = next((tab for tab in tabs if tab.key == request.GET.get("tab")), tabs[0])
        with tenant_scope(device.tenant_id):  # the superuser has no tenant
            context = {
                **(extra_context or {}),
                "device": device,
                "device_tabs": tabs,
                "device_tab": chosen.key,
                "headers": [part for render in device_header if (part := render(request, device))],
                "panels": [
                    panel
                    for render in device_page
                    if tab_of(render) == chosen.key and (panel := render(request, device))
                ],
            }
            if chosen.key == HISTORY:
                context |= _history(request, device)
        if chosen.key == OVERVIEW:
            return super().change_view(request, object_id, form_url, context)
        context |= {
            **self.admin_site.each_context(request),
            "title": device.name,
            "opts": self.opts,
            "original": device,
            "has_view_permission": True,
        }
        return TemplateResponse(request, "portal/device_tab.html", context)


def _history(request: HttpRequest, device: Device) -> dict[str, Any]:
    events = visible_to(signed_in_user(request), Event).filter(device_id=device.pk)
    return {
        "history": list(events[:HISTORY_ROWS]),
        "all_events": f"{reverse('admin:events_event_changelist')}?device={device.pk}",
    }
