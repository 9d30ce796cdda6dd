"""Admin pages of the audit log and of event deliveries."""

import json
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from unfold.contrib.filters.admin import FieldTextFilter, TextFilter
from unfold.decorators import display

from core import clock
from events.extension_points import ids_of_devices_named, names_of
from events.models import Delivery, Event
from events.services import delivery
from tenants.admin.base import MAX_ROWS_PER_ACTION, ActionResult, ReadOnlyAdmin, results_page
from tenants.admin.columns import time_column
from tenants.admin.export import ExportMixin
from tenants.admin.opaque_ids import OpaqueIdAdmin
from tenants.admin.time_filter import TimeRangeFilter

MAX_DEVICES = 200  # of a part of a name


class DeviceFilter(TextFilter):
    """Filter events by a part of the device's name, or by its id."""

    title = "device"
    parameter_name = "device"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        text = (self.value() or "").strip()
        if not text:
            return queryset
        try:
            return queryset.filter(device_id=UUID(text))
        except ValueError:
            return queryset.filter(device_id__in=ids_of_devices_named(text, MAX_DEVICES))


class PersonFilter(TextFilter):
    """Filter events by a part of the address or the name of who caused them."""

    title = "person"
    parameter_name = "person"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        text = (self.value() or "").strip()
        return queryset.filter(caller_name__icontains=text) if text else queryset


@admin.register(Event)
class EventAdmin(ExportMixin, OpaqueIdAdmin):
    """The audit log: who did what, when, from which address, and what changed."""

    list_display = ("name", "when", "device", "by", "changed_fields", "address")
    list_filter = (
        ("name", FieldTextFilter),
        DeviceFilter,
        PersonFilter,
        ("at", TimeRangeFilter),
        "caller_kind",
    )
    list_select_related = ("tenant",)
    search_fields = ("=device_id", "name__startswith", "caller_name__startswith")
    search_help_text = "Id of the device or the event, or the beginning of a name"
    ordering = ("-id",)
    export_columns = (
        ("id", lambda row: row.public_id),
        ("name", lambda row: row.name),
        ("at", lambda row: row.at),
        ("device_id", lambda row: row.device_id),
        ("caller_kind", lambda row: row.caller_kind),
        ("caller_name", lambda row: row.caller_name),
        ("address", lambda row: row.address),
        ("request_id", lambda row: row.request_id),
        ("data", lambda row: json.dumps(row.data, default=str)),
        ("changes", lambda row: json.dumps(row.changes, default=str)),
    )
    readonly_fields = ("event_id",)
    fields = (
        "name",
        "event_id",
        "at",
        "device_id",
        "caller_kind",
        "caller_name",
        "caller_id",
        "address",
        "request_id",
        "data",
        "changes",
    )

    when = time_column("Time", "at")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        base: Any = super().get_changelist(request, **kwargs)

        class NamingChangeList(base):
            """A list that knows the names of the devices of its rows."""

            def get_results(self, request: HttpRequest) -> None:
                super().get_results(request)
                rows: list[Any] = list(self.result_list)  # type: ignore[has-type] # of the base
                names = names_of({row.device_id for row in rows if row.device_id})
                for row in rows:
                    row.device_name = names.get(row.device_id, "")
                self.result_list = rows

        return NamingChangeList

    @admin.display(description="Device")
    def device(self, event: Any) -> str:
        if not event.device_id:
            return "-"
        url = reverse("admin:devices_device_change", args=[event.device_id])
        return format_html('<a href="{}">{}</a>', url, event.device_name or event.device_id)

    @admin.display(description="Event id")
    def event_id(self, event: Event) -> str:
        return event.public_id

    @admin.display(description="Caller")
    def by(self, event: Event) -> str:
        return event.caller_name or event.caller_kind

    @admin.display(description="Changes")
    def changed_fields(self, event: Event) -> str:
        return ", ".join(
            f"{name}: {before} → {after}" for name, (before, after) in event.changes.items()
        )


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    """Pending and failed deliveries to event subscribers, for superusers."""

    list_display = ("event", "listener", "state", "attempts", "due", "last_error")
    list_filter = (("dead_at", admin.EmptyFieldListFilter),)
    list_select_related = ("event",)
    ordering = ("-id",)
    actions = ("try_again",)
    fields = ("event", "listener", "stream", "attempts", "due_at", "dead_at", "last_error")

    @display(description="State", label={"waiting": "info", "dead": "danger"})
    def state(self, row: Delivery) -> str:
        return "waiting" if row.dead_at is None else "dead"

    due = time_column("Next attempt", "due_at", is_sortable=True)

    @admin.action(description="Retry dead deliveries", permissions=["manage"])
    def try_again(self, request: HttpRequest, rows: QuerySet[Delivery]) -> HttpResponse:
        selected = list(rows[:MAX_ROWS_PER_ACTION])
        delivery.retry(delivery_ids=[row.pk for row in selected], now=clock.now())
        outcomes = [
            ActionResult(str(row), True, "The delivery will be retried shortly.")
            if row.dead_at is not None
            else ActionResult(
                str(row), False, "Only dead deliveries can be retried. This one waits."
            )
            for row in selected
        ]
        return results_page(self, request, "Retry deliveries", outcomes)
