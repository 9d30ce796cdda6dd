"""Admin classes for commands, sessions, bulk commands and the policy."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import path
from unfold.decorators import display

from core import clock
from devices.remote_control.admin import bulk_pages, control_page, screens_page
from devices.remote_control.admin.forms import PolicyForm
from devices.remote_control.command_types import TYPES
from devices.remote_control.models import (
    BulkCommand,
    CommandHistory,
    RemoteControlPolicy,
    RemoteControlSession,
)
from devices.remote_control.services import bulk_commands, command_expiry
from tenants.admin.base import (
    MAX_ROWS_PER_ACTION,
    PageAdmin,
    ReadOnlyAdmin,
    SingletonAdmin,
    confirmed_action,
    results_page,
    run_for_each,
    signed_in_user,
)
from tenants.admin.columns import time_column

COLOURS = {
    "succeeded": "success",
    "failed": "danger",
    "expired": "warning",
    "cancelled": "default",
    "superseded": "default",
}


@admin.register(CommandHistory)
class CommandAdmin(ReadOnlyAdmin):
    """The command history of all devices."""

    list_display = ("command", "device_name", "shown_status", "issued_by", "issued")
    list_filter = ("status", "type")
    linked_filters = ("device__id__exact", "bulk__id__exact")
    list_select_related = ("tenant", "device")
    ordering = ("-issued_at", "-id")
    actions: Any = ("cancel_commands",)
    fields: Any = (
        "command",
        "device_name",
        "shown_status",
        "reason",
        "result",
        "issued_by",
        "sequence",
        "issued_at",
        "expires_at",
        "sent_at",
        "delivered_at",
        "started_at",
        "ended_at",
        "session",
        "bulk",
        "id",
    )
    readonly_fields = fields

    def has_manage_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(control_page.MANAGE)

    @admin.display(description="Command")
    def command(self, row: CommandHistory) -> str:
        return control_page.command_text(row.type, row.parameters)

    @admin.display(description="Device")
    def device_name(self, row: CommandHistory) -> str:
        return row.device.name

    @display(description="Status", label=COLOURS)
    def shown_status(self, row: CommandHistory) -> tuple[str, str]:
        status = row.status_at(clock.now())
        return status, status

    issued = time_column("Issued", "issued_at", is_sortable=True)

    @confirmed_action(
        description="Cancel selected commands",
        explanation="Devices that have not fetched them do not run them.",
        button="Cancel the commands",
        permissions=["manage"],
    )
    def cancel_commands(self, request: HttpRequest, rows: QuerySet[CommandHistory]) -> HttpResponse:
        by = signed_in_user(request).email

        def cancel(row: CommandHistory) -> str:
            command_expiry.cancel(command=row, by=by, now=clock.now())
            return "Cancelled."

        outcomes = run_for_each(rows[:MAX_ROWS_PER_ACTION], cancel)
        return results_page(self, request, "Cancelled commands", outcomes)


@admin.register(RemoteControlSession)
class SessionAdmin(ReadOnlyAdmin):
    """The history of sessions. This class also serves the control page of each device."""

    list_display = ("device_name", "controller", "started", "ended", "end_reason")
    list_filter = ("end",)
    list_select_related = ("tenant", "device", "controller")
    ordering = ("-started_at", "-id")
    fields: Any = ("device", "controller", "started_at", "last_used_at", "ended_at", "end")
    readonly_fields = fields

    def get_urls(self) -> list[Any]:
        view, base = self.admin_site.admin_view, "device/<uuid:device_id>/"
        urls = [
            path(base, view(control_page.control), name="remote_control_control"),
            path(f"{base}state/", view(control_page.state), name="remote_control_state"),
            path(f"{base}act/", view(control_page.act), name="remote_control_act"),
            path(
                "screenshot/<uuid:screenshot_id>/",
                view(control_page.screenshot),
                name="remote_control_screenshot",
            ),
        ]
        urls.append(
            path(
                "screenshot/<uuid:screenshot_id>/thumbnail/",
                view(screens_page.thumbnail),
                name="remote_control_thumbnail",
            )
        )
        return [*urls, *super().get_urls()]

    @admin.display(description="Device")
    def device_name(self, row: RemoteControlSession) -> str:
        return row.device.name

    started = time_column("Started", "started_at", is_sortable=True)
    ended = time_column("Ended", "ended_at", never="active")

    @admin.display(description="End reason")
    def end_reason(self, row: RemoteControlSession) -> str:
        return row.get_end_display() or "-"


@admin.register(BulkCommand)
class BulkCommandAdmin(PageAdmin, ReadOnlyAdmin):
    """Bulk commands."""

    list_display = (
        "command",
        "filter_text",
        "shown_state",
        "progress",
        "requested_by",
        "requested",
    )
    list_filter = ("state", "type")
    list_select_related = ("tenant", "requested_by", "confirmed_by")
    ordering = ("-requested_at", "-id")
    change_form_outer_before_template = "portal/bulk_command.html"
    fields: Any = (
        "command",
        "filter_text",
        "requested_by",
        "requested_at",
        "confirmed_by",
        "expires_at",
        "ended_at",
        "id",
    )
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(control_page.MANAGE)

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        urls = [
            path(
                "<uuid:bulk_id>/decide/", view(bulk_pages.decide), name="remote_control_bulk_decide"
            )
        ]
        return [*urls, *super().get_urls()]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        return bulk_pages.new(request)

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return bulk_pages.progress(request, row)

    @admin.display(description="Command")
    def command(self, row: BulkCommand) -> str:
        return control_page.command_text(row.type, row.parameters)

    @admin.display(description="Devices")
    def filter_text(self, row: BulkCommand) -> str:
        return bulk_pages.filter_text(row.filter)

    @display(
        description="State", label={"waiting": "warning", "running": "info", "finished": "success"}
    )
    def shown_state(self, row: BulkCommand) -> tuple[str, str]:
        state = bulk_commands.state_at(row, clock.now())
        return state, BulkCommand.State(state).label

    @admin.display(description="Progress")
    def progress(self, row: BulkCommand) -> str:
        return f"{row.done:,} of {row.found:,} devices"

    requested = time_column("Requested", "requested_at", is_sortable=True)


@admin.register(RemoteControlPolicy)
class PolicyAdmin(SingletonAdmin):
    """The remote control policy of each tenant."""

    list_display = ("policy", "allowed", "blast_radius")
    list_select_related = ("tenant",)
    ordering = ("tenant",)
    default_message = (
        "The default policy applies: all command types are allowed, because no policy"
        " has been saved."
    )
    service_form = PolicyForm
    fields = ("allowed_types", "blast_radius")

    @admin.display(description="Policy")
    def policy(self, row: RemoteControlPolicy) -> str:
        return str(row)

    @admin.display(description="Allowed command types")
    def allowed(self, row: RemoteControlPolicy) -> str:
        if len(row.allowed_types) == len(TYPES):
            return "all"
        return ", ".join(TYPES[name].label for name in row.allowed_types) or "none"
