"""Admin pages of the audit log and of event deliveries."""

import json

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.contrib.filters.admin import FieldTextFilter
from unfold.decorators import display

from core import clock
from events.models import Delivery, Event
from events.services import delivery
from tenants.admin.base import MAX_ROWS_PER_ACTION, ActionResult, ReadOnlyAdmin, results_page
from tenants.admin.columns import time_column
from tenants.admin.export import ExportMixin
from tenants.admin.opaque_ids import OpaqueIdAdmin


@admin.register(Event)
class EventAdmin(ExportMixin, OpaqueIdAdmin):
    """The audit log: who did what, when, from which address, and what changed."""

    list_display = ("name", "when", "by", "address", "changed_fields")
    list_filter = (("name", FieldTextFilter), "caller_kind")
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
