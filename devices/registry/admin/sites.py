"""Portal pages of sites."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminDecimalFieldWidget

from core import clock
from core.weekly_times import DAYS, from_entries, state_at
from devices.registry.extension_points import site_page
from devices.registry.models import Device, Site
from devices.registry.services import sites
from tenants.admin.base import CascadeDeleteMixin, SingleDeleteAdmin
from tenants.admin.export import ExportMixin
from tenants.admin.forms import ServiceForm, clock_field, notes_field, tenant_field, text_field
from tenants.context import tenant_scope

HOURS = ("days", "from", "until")
STATES = {"online": "Online", "offline": "Offline", "never_connected": "Never connected"}


def _degrees_field(label: str, limit: int, help_text: str = "") -> forms.FloatField:
    return forms.FloatField(
        label=label,
        required=False,
        min_value=-limit,
        max_value=limit,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}),
        help_text=help_text,
    )


class SiteForm(ServiceForm):
    """Create or change a site. The form shows the first opening hours and keeps the others."""

    tenant = tenant_field()
    name = text_field("Name", required=True, length=120)
    parent_name = text_field(
        "In", length=120, help_text="Name of the site or region that this site is in."
    )
    address = text_field("Address", length=500)
    latitude = _degrees_field("Latitude", 90, "In degrees, such as 52.52.")
    longitude = _degrees_field("Longitude", 180, "In degrees, such as 13.405.")
    time_zone = text_field(
        "Time zone",
        help_text="For example Europe/Berlin. Devices use it if no configuration sets another.",
    )
    contact = text_field("Contact", length=200, help_text="A person, phone number or address.")
    hours_days = forms.MultipleChoiceField(
        label="Open on",
        required=False,
        choices=[(day, day.capitalize()) for day in DAYS],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )
    hours_from = clock_field("From", "In the time zone of the site.")
    hours_until = clock_field("Until", "Not after the start: until the next day.")
    notes = notes_field()

    class Meta:
        model = Site
        fields: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.is_new:
            return
        for name in ("name", "address", "latitude", "longitude", "time_zone", "contact", "notes"):
            self.initial.setdefault(name, getattr(self.instance, name))
        self.initial.setdefault("parent_name", str(self.instance.parent or ""))
        for entry in self.instance.opening_hours[:1]:
            self.initial.update({f"hours_{name}": entry[name] for name in HOURS})

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        hours = [values.get(f"hours_{name}") for name in HOURS]
        if any(hours) and not all(value not in (None, []) for value in hours):
            self.add_error("hours_days", "Opening hours need days, a start and an end.")
        return values

    def call_service(self) -> Site:
        data = dict(self.cleaned_data)
        days, start, end = (data.pop(f"hours_{name}") for name in HOURS)
        hours = [{"days": days, "from": f"{start:%H:%M}", "until": f"{end:%H:%M}"}] if days else []
        parent = data.pop("parent_name")
        data["parent"] = sites.find_site(parent, field="parent_name") if parent else None
        if self.is_new:
            return sites.create(now=clock.now(), opening_hours=hours, **data)
        more = self.instance.opening_hours[1:]
        hours = [*hours, *more]
        return sites.change(site=self.instance, now=clock.now(), opening_hours=hours, **data)


class PlaceFilter(admin.SimpleListFilter):
    """Filter sites by whether they are on the map."""

    title = "place on the map"
    parameter_name = "place"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("known", "On the map"), ("missing", "No coordinates")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "known":
                return queryset.filter(latitude__isnull=False)
            case "missing":
                return queryset.filter(latitude__isnull=True)
        return queryset


EXPORT_COLUMNS = (
    ("id", lambda site: site.pk),
    ("name", lambda site: site.name),
    ("parent", lambda site: site.parent.name if site.parent else ""),
    ("address", lambda site: site.address),
    ("latitude", lambda site: site.latitude),
    ("longitude", lambda site: site.longitude),
    ("time_zone", lambda site: site.time_zone),
    ("contact", lambda site: site.contact),
    ("devices", lambda site: site.count or 0),
    ("online", lambda site: site.online or 0),
    ("never_connected", lambda site: site.never or 0),
)


@admin.register(Site)
class SiteAdmin(CascadeDeleteMixin, SingleDeleteAdmin, ExportMixin):
    """The admin class of sites. The page of a site shows its devices, alerts and screens."""

    list_display = ("name", "devices", "address", "offline", "parent_name", "time_zone", "contact")
    list_filter = (PlaceFilter,)
    list_select_related = ("tenant", "parent")
    export_columns = EXPORT_COLUMNS
    change_form_outer_before_template = "portal/site_panels.html"
    search_fields = ("name__icontains", "address__icontains")
    search_help_text = "Part of the name or the address"
    ordering = ("name", "id")
    service_form = SiteForm
    fieldsets: Any = (
        (None, {"fields": ("name", "parent_name", "address", "contact")}),
        ("Place and time", {"fields": (("latitude", "longitude"), "time_zone")}),
        ("Opening hours", {"fields": ("hours_days", ("hours_from", "hours_until"))}),
        ("Notes", {"fields": ("notes",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return (
            super()
            .get_queryset(request)
            .annotate(
                count=_count(),
                online=_count(status=Device.Status.ONLINE),
                never=_count(status=Device.Status.OFFLINE, last_seen__isnull=True),
            )
        )

    def export_rows(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.select_related("parent")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        site = self.get_object(request, object_id)
        panels = []
        if site is not None and self.has_view_permission(request, site):
            with tenant_scope(site.tenant_id):
                panels = [panel for render in site_page if (panel := render(request, site))]
        context = {**(extra_context or {}), "panels": panels}
        return super().change_view(request, object_id, form_url, context)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with tenant_scope(obj.tenant_id):
            sites.delete(site=obj, now=clock.now())

    @admin.display(description="Devices")
    def devices(self, site: Any) -> str:
        if not site.count:
            return "0"
        return format_html(
            '<a href="{}">{} of {} online</a>', _devices_url(site), site.online or 0, site.count
        )

    @admin.display(description="Offline")
    def offline(self, site: Any) -> str:
        gone = (site.count or 0) - (site.online or 0) - (site.never or 0)
        parts = [f"{gone} offline"] if gone else []
        if site.never:
            parts.append(f"{site.never} never connected")
        return ", ".join(parts) or "-"

    @admin.display(description="In")
    def parent_name(self, site: Any) -> str:
        return str(site.parent or "-")


def panel(request: HttpRequest, site: Site) -> SafeString:
    """Render the devices of a site, and those at the sites in it, by state."""
    counts = Device.objects.at_site(str(site.pk)).not_retired().counts_by_state()
    url = _devices_url(site)
    context = {
        "site": site,
        "total": sum(counts.values()),
        "counts": [
            (label, counts[state], f"{url}&status={state}") for state, label in STATES.items()
        ],
        "devices_url": url,
        "opening": state_at(from_entries(site.opening_hours), site.time_zone or "UTC", clock.now())
        if site.opening_hours
        else None,
        "hours": site.opening_hours,
        "map_url": reverse("admin:site_map") if site.latitude is not None else "",
    }
    return render_to_string("portal/site_devices.html", context)


def _count(**conditions: Any) -> Subquery:
    """Return the number of the devices of a site that meet conditions."""
    devices = Device.every_tenant.not_retired().filter(site=OuterRef("pk"), **conditions)
    return Subquery(devices.order_by().values("site").annotate(count=Count("pk")).values("count"))


def _devices_url(site: Site) -> str:
    return f"{reverse('admin:devices_device_changelist')}?site={site.pk}"
