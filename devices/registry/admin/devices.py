"""Portal pages that list, register, edit and retire devices, and issue their tokens."""

from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.db.models import BLANK_CHOICE_DASH, QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.decorators import action, display

from core import clock
from devices.registry import exports
from devices.registry.admin.attributes import attribute_columns, field_names, filters_of_tenant
from devices.registry.admin.device_page import TabbedPage
from devices.registry.admin.filters import (
    DriftFilter,
    ModelFilter,
    SiteFilter,
    StatusFilter,
    TagFilter,
)
from devices.registry.admin.forms import RegistrationForm, UpdateForm
from devices.registry.admin.quarantine import (
    QUARANTINE_ACTIONS,
    QUARANTINE_DETAIL_ACTIONS,
    PendingDecisionFilter,
    QuarantineActions,
)
from devices.registry.admin.replacement import ReplacementPage
from devices.registry.extension_points import device_list_actions
from devices.registry.models import Device, DeviceIdentifier, DeviceQuerySet
from devices.registry.services import credentials, retirement
from tenants.admin.base import (
    MAX_ROWS_PER_ACTION,
    ReadOnlyInline,
    confirmation_page,
    confirmed_action,
    results_page,
    run_for_each,
    secret_page,
    signed_in_user,
)
from tenants.admin.columns import time_column
from tenants.admin.export import ExportMixin
from tenants.context import current_tenant_id

PREFETCHED = {"tag_names": "device_tags__tag", "identifiers_text": "identifiers"}


class IdentifierInline(ReadOnlyInline):
    model = DeviceIdentifier
    fields = ("kind", "shown", "released_at")
    readonly_fields = fields
    verbose_name_plural = "Identifiers"


@admin.register(Device)
class DeviceAdmin(TabbedPage, ReplacementPage, QuarantineActions, ExportMixin):
    """The admin class of devices. Services perform all changes. Retirement is permanent."""

    list_display = (
        "name",
        "status_label",
        "model",
        "seen",
        "app_version",
        "configuration",
        "registered",
    )
    optional_columns = ("site", "tag_names", "identifiers_text", "os_version", "ip_address", "id")
    list_filter = (
        StatusFilter,
        PendingDecisionFilter,
        DriftFilter,
        ModelFilter,
        TagFilter,
        SiteFilter,
    )
    list_select_related = ("tenant", "next_steps", "site", "attributes")
    search_fields = ("name",)
    search_help_text = "Part of the name, or the beginning of an identifier"
    ordering = ("-registered_at", "-id")
    inlines: Any = (IdentifierInline,)
    actions: Any = ("retire_selected", "new_token_for_selected", *QUARANTINE_ACTIONS)
    # Of the pages of single devices. A list offers bulk operations instead.
    actions_not_offered: ClassVar = {"retire_selected", "quarantine_selected", "release_selected"}
    actions_detail: Any = (
        "replace_one",
        "retire_one",
        "new_token_for_one",
        *QUARANTINE_DETAIL_ACTIONS,
    )
    change_form_outer_before_template = "portal/device_panels.html"
    readonly_fields = (
        "status",
        "pending_decisions",
        "seen",
        "registered",
        "retired",
        "replaces",
        "replaced_by",
        "model",
        "hardware_summary",
        "app_version",
        "os_version",
        "ip_address",
        "id",
    )

    def get_optional_columns(self, request: HttpRequest) -> Any:
        own = attribute_columns() if current_tenant_id() is not None else []
        return [*self.optional_columns, *own]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Load the rows of optional columns only if they are shown."""
        queryset = super().get_queryset(request)
        chosen = signed_in_user(request).list_columns.get(self.opts.label_lower, ())
        prefetched = [lookup for name, lookup in PREFETCHED.items() if name in chosen]
        return queryset.prefetch_related(*prefetched)

    @admin.display(description="Tags")
    def tag_names(self, device: Device) -> str:
        return ", ".join(sorted(row.tag.name for row in device.device_tags.all())) or "-"

    @admin.display(description="Identifiers")
    def identifiers_text(self, device: Device) -> str:
        rows = device.identifiers.all()
        return ", ".join(row.shown for row in rows if row.released_at is None) or "-"

    def get_export_columns(self, request: HttpRequest) -> Any:
        return exports.columns()

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        """Return the filters, with one for each attribute of a member's tenant."""
        filters = super().get_list_filter(request)
        match = request.resolver_match
        is_list = match is None or "object_id" not in match.kwargs
        if is_list and current_tenant_id() is not None:
            filters += filters_of_tenant()
        return filters

    def export_rows(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        assert isinstance(rows, DeviceQuerySet)
        return exports.with_columns(rows)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = UpdateForm if obj else RegistrationForm
        return form.for_user(signed_in_user(request))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            form = RegistrationForm.for_user(signed_in_user(request))
            fields = sorted(form.base_fields, key=lambda name: name != "tenant")  # tenant first
            return ((None, {"fields": fields}),)
        is_linked = hasattr(obj, "predecessor") or hasattr(obj, "replacement")
        links = (("Replacement", {"fields": ("replaces", "replaced_by")}),) if is_linked else ()
        return (
            (None, {"fields": ("name", "tags", "site_name", *field_names(obj))}),
            ("State", {"fields": ("status", "pending_decisions", "seen", "registered", "retired")}),
            *links,
            (
                "Hardware and software",
                {
                    "fields": (
                        "model",
                        "hardware_summary",
                        "app_version",
                        "os_version",
                        "ip_address",
                        "id",
                    )
                },
            ),
        )

    def get_inlines(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.inlines if obj else ()

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.readonly_fields if obj else ()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        assert isinstance(queryset, DeviceQuerySet)
        if search_term.strip():
            queryset = queryset.matching_text(search_term)
        return queryset, False

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Return the actions on selected devices, with those of other packages first."""
        actions = super().get_actions(request)
        others = {
            name: (function, name, label)
            for callback in device_list_actions
            for name, label, function in callback(request)
        }
        return {**others, **actions}

    def get_action_choices(self, request: HttpRequest, default_choices: Any = ()) -> Any:
        choices = super().get_action_choices(request, default_choices or BLANK_CHOICE_DASH)
        if request.method != "GET":  # the confirmation of a single device's page
            return choices
        return [choice for choice in choices if choice[0] not in self.actions_not_offered]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # devices are retired, never deleted

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if isinstance(obj, Device) and obj.status == Device.Status.RETIRED:
            return False
        return super().has_change_permission(request, obj)

    @display(
        description="Status",
        label={
            "online": "success",
            "offline": "warning",
            "never_connected": "info",
            "retired": "default",
            "quarantine": "danger",
        },
    )
    def status_label(self, device: Device) -> tuple[str, str]:
        if device.quarantined_at is not None:
            return "quarantine", f"{device.get_status_display()}, in quarantine"
        if device.state == "never_connected":
            return device.state, "Never connected"
        return device.status, device.get_status_display()

    @display(description="Configuration", label={"drifted": "warning"})
    def configuration(self, device: Device) -> tuple[str, str] | str:
        steps = getattr(device, "next_steps", None)
        is_waiting = steps is not None and steps.configuration_waiting_since is not None
        counts = device.state not in ("retired", "never_connected")
        return ("drifted", "Drifted") if is_waiting and counts else "-"

    seen = time_column("Last seen", "last_seen")
    registered = time_column("Registered", "registered_at", is_sortable=True)
    retired = time_column("Retired", "retired_at", never="-")

    @admin.display(description="Hardware")
    def hardware_summary(self, device: Device) -> str:
        hardware = getattr(device, "hardware", None)
        if hardware is None:
            return "-"
        size = f"{hardware.screen_width}×{hardware.screen_height}"
        parts = (hardware.manufacturer, size if hardware.screen_width else "")
        return ", ".join(part for part in parts if part) or "-"

    @confirmed_action(
        description="Retire selected devices",
        explanation="Their certificates and tokens are revoked. This cannot be undone.",
        button="Retire",
    )
    def retire_selected(self, request: HttpRequest, devices: QuerySet[Device]) -> HttpResponse:
        def retire(device: Device) -> str:
            retirement.retire(device=device, reason="retired by a member", now=clock.now())
            return "Retired. Its certificates and token were revoked."

        outcomes = run_for_each(devices[:MAX_ROWS_PER_ACTION], retire)
        return results_page(self, request, "Retired", outcomes)

    @confirmed_action(
        description="Issue a new token for selected devices",
        explanation="Their current tokens are revoked immediately.",
        button="Issue new tokens",
    )
    def new_token_for_selected(
        self, request: HttpRequest, devices: QuerySet[Device]
    ) -> HttpResponse:
        secrets: dict[str, str] = {}

        def renew(device: Device) -> str:
            token = credentials.issue_device_token(device, now=clock.now())
            secrets[str(device)] = token
            return "New token issued."

        selected = devices[:MAX_ROWS_PER_ACTION]
        outcomes = run_for_each(selected, renew)
        if not secrets:
            return results_page(self, request, "New tokens", outcomes)
        return secret_page(self, request, title="New device tokens", secrets=secrets)

    @action(description="Retire", url_path="retire", permissions=["change"])
    def retire_one(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        devices = self.get_queryset(request).filter(pk=object_id)
        return self.retire_selected(request, devices)

    @action(description="New token", url_path="new-token", permissions=["change"])
    def new_token_for_one(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        devices = self.get_queryset(request).filter(pk=object_id)
        return confirmation_page(
            self,
            request,
            title="New token",
            action="new_token_for_selected",
            rows=devices,
            explanation="The device's current token is revoked immediately.",
            button="Issue a new token",
        )
