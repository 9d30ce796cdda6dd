"""Portal pages of sites."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from core import clock
from core.weekly_times import DAYS
from devices.registry.models import Device, Site
from devices.registry.services import sites
from tenants.admin.base import CascadeDeleteMixin, SingleDeleteAdmin
from tenants.admin.forms import ServiceForm, tenant_field, text_field
from tenants.context import tenant_scope

HOURS = ("days", "from", "until")


def _clock_field(label: str, help_text: str = "") -> forms.TimeField:
    return forms.TimeField(
        label=label,
        required=False,
        input_formats=["%H:%M"],
        widget=UnfoldAdminTextInputWidget(attrs={"type": "time"}),
        help_text=help_text,
    )


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
    hours_from = _clock_field("From", "In the time zone of the site.")
    hours_until = _clock_field("Until", "Not after the start: until the next day.")
    notes = forms.CharField(
        label="Notes",
        required=False,
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
    )

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


@admin.register(Site)
class SiteAdmin(CascadeDeleteMixin, SingleDeleteAdmin):
    """The admin class of sites."""

    list_display = ("name", "parent", "address", "time_zone", "contact", "devices")
    list_select_related = ("tenant", "parent")
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
        devices = Device.every_tenant.not_retired().filter(site=OuterRef("pk"))
        count = devices.order_by().values("site").annotate(count=Count("pk")).values("count")
        return super().get_queryset(request).annotate(count=Subquery(count))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with tenant_scope(obj.tenant_id):
            sites.delete(site=obj, now=clock.now())

    @admin.display(description="Devices")
    def devices(self, site: Any) -> str:
        if not site.count:
            return "0"
        url = reverse("admin:devices_device_changelist")
        return format_html('<a href="{}?site={}">{}</a>', url, site.pk, f"{site.count:,}")
