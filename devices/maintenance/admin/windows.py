"""Portal pages of maintenance windows."""

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import action

from core import clock
from core.errors import DomainError
from devices.maintenance.admin.forms import WindowForm
from devices.maintenance.admin.texts import state_text, time_text
from devices.maintenance.models import MaintenanceWindow
from devices.maintenance.services import windows
from devices.registry.models import Site
from tenants.admin.base import CascadeDeleteMixin, PortalAdmin
from tenants.context import tenant_scope
from tenants.managers import rows_of_outer_tenant


@admin.register(MaintenanceWindow)
class MaintenanceWindowAdmin(CascadeDeleteMixin, PortalAdmin):
    """The admin class of maintenance windows."""

    list_display = ("name", "state", "devices", "time", "holds")
    list_filter = ("scope", "recurrence")
    list_select_related = ("tenant", "site", "tag", "device")
    search_fields = ("name__icontains",)
    ordering = ("-created_at", "-id")
    service_form = WindowForm
    actions_detail: Any = ("end_now",)
    fieldsets: Any = (
        (None, {"fields": ("name",)}),
        ("For", {"fields": ("scope", "site_name", "tag_name", "device_id")}),
        (
            "When",
            {
                "fields": (
                    "recurrence",
                    "starts_at",
                    "ends_at",
                    "week_days",
                    ("week_from", "week_until"),
                    "time_zone",
                )
            },
        ),
        ("Meanwhile", {"fields": ("holds_alerts", "holds_commands")}),
        ("Notes", {"fields": ("notes",)}),
    )
    conditional_fields: ClassVar = {
        "site_name": "scope == 'site'",
        "tag_name": "scope == 'tag'",
        "device_id": "scope == 'device'",
        "starts_at": "recurrence == 'once'",
        "ends_at": "recurrence == 'once'",
        "week_days": "recurrence == 'weekly'",
        "week_from": "recurrence == 'weekly'",
        "week_until": "recurrence == 'weekly'",
        "time_zone": "recurrence == 'weekly'",
    }

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        sites = rows_of_outer_tenant(Site).exclude(time_zone="")
        zones = sites.order_by().values("time_zone").distinct()
        return super().get_queryset(request).annotate(zones=ArraySubquery(zones))

    @admin.display(description="State")
    def state(self, window: MaintenanceWindow) -> str:
        zones: list[str] = getattr(window, "zones", [])
        return state_text(window, clock.now(), zones)

    @admin.display(description="Devices")
    def devices(self, window: MaintenanceWindow) -> str:
        subject = window.site or window.tag or window.device
        return f"{window.get_scope_display()}: {subject}" if subject else "All devices"

    @admin.display(description="Time")
    def time(self, window: MaintenanceWindow) -> str:
        return time_text(window)

    @admin.display(description="Holds")
    def holds(self, window: MaintenanceWindow) -> str:
        holds = {"alerts": window.holds_alerts, "commands": window.holds_commands}
        return " and ".join(name for name, is_held in holds.items() if is_held)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with tenant_scope(obj.tenant_id):
            windows.delete(window=obj, now=clock.now())

    @action(
        description="End now",
        permissions=("change",),
        url_path="end-now",
        attrs={"class": "portal-end-window"},
    )
    def end_now(self, request: HttpRequest, object_id: str) -> HttpResponse:
        window = self.get_object(request, object_id)
        page = "admin:maintenance_maintenancewindow_change"
        if window is not None and request.method != "POST":
            context = {
                **self.admin_site.each_context(request),
                "title": f"End {window.name}",
                "text": "Alerts open again, and devices get the commands that wait.",
                "button": "End the window now",
                "back": reverse(page, args=[object_id]),
            }
            return TemplateResponse(request, "portal/ask.html", context)
        if window is not None:
            try:
                with tenant_scope(window.tenant_id):
                    windows.end(window=window, now=clock.now())
                self.message_user(request, f"{window.name} has ended.", messages.SUCCESS)
            except DomainError as error:
                self.message_user(request, str(error), messages.ERROR)
        return redirect(page, object_id)
