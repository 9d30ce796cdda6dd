"""Portal pages on which a member decides identifier conflicts."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from unfold.decorators import action, display

from core import clock
from devices.registry.models import Device, IdentifierConflict
from devices.registry.models.conflicts import IdentifierConflictQuerySet
from devices.registry.services import conflicts
from tenants.admin.base import (
    MAX_ROWS_PER_ACTION,
    PortalAdmin,
    confirmation_page,
    confirmed_action,
    results_page,
    run_for_each,
    signed_in_user,
)
from tenants.admin.columns import time_column
from tenants.roles import visible_to

DIFFERENT_MEANS = (
    "The value then identifies no device. The other identifiers of each device are used."
)
SAME_MEANS = (
    "The device that holds the value takes over the identifiers and the token of the other record,"
    " which is retired. Its certificates are revoked. This cannot be undone."
)


class OpenFilter(admin.SimpleListFilter):
    """Filter conflicts by whether they are decided. Open ones are shown first."""

    title = "decision"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "Open"), ("decided", "Decided")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        assert isinstance(queryset, IdentifierConflictQuerySet)
        match self.value():
            case "open":
                return queryset.open()
            case "decided":
                return queryset.exclude(decision="")
        return queryset


@admin.register(IdentifierConflict)
class IdentifierConflictAdmin(PortalAdmin):
    """The admin class of identifier conflicts. Members can only decide them."""

    list_display = ("identifier_label", "holder_link", "others_summary", "seen", "decision_label")
    list_filter = (OpenFilter, "kind")
    list_select_related = ("tenant",)
    search_fields = ("value",)
    search_help_text = "Part of the value"
    ordering = ("-last_seen_at", "-id")
    fields: Any = (
        "identifier_label",
        "holder_link",
        "others_links",
        "waiting_label",
        "first_seen",
        "seen",
        "decision_text",
        "decided",
    )
    readonly_fields: Any = fields
    actions: Any = ("decide_different", "decide_same")
    actions_detail: Any = ("different_one", "same_one")

    seen = time_column("Last reported", "last_seen_at")
    first_seen = time_column("First reported", "first_seen_at")
    decided = time_column("Decided", "decided_at", never="Not yet")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        assert isinstance(rows, IdentifierConflictQuerySet)
        return rows.with_devices()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A member decides with the actions. The page of a conflict has no form."""
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="Shared value")
    def identifier_label(self, row: IdentifierConflict) -> str:
        return str(row)

    @admin.display(description="Device that holds it")
    def holder_link(self, row: IdentifierConflict) -> str:
        return _link(row.holder)

    @admin.display(description="Other devices")
    def others_summary(self, row: IdentifierConflict) -> str:
        names = [other.device.name for other in row.newest_others]
        more = " and others" if len(names) > 2 else ""
        waiting = ["one that waits to be registered"] if row.waiting else []
        return ", ".join([*names[:2], *waiting]) + more or "-"

    @admin.display(description="Other devices")
    def others_links(self, row: IdentifierConflict) -> str:
        others = ((_link(other.device),) for other in row.newest_others)
        return format_html_join(", ", "{}", others) or "-"

    @admin.display(description="Waits to be registered")
    def waiting_label(self, row: IdentifierConflict) -> str:
        if not row.waiting:
            return "No device"
        values = ", ".join(item.written or item.value for item in row.waiting_identifiers())
        return f"A device with {values}, at {row.waiting_address or 'an unknown address'}"

    @display(description="Decision", label={"": "warning", "different": "info", "same": "success"})
    def decision_label(self, row: IdentifierConflict) -> tuple[str, str]:
        return row.decision, self.decision_text(row)

    @admin.display(description="Decision")
    def decision_text(self, row: IdentifierConflict) -> str:
        return row.get_decision_display() or "Open"

    @confirmed_action(
        description="They are different devices",
        explanation=DIFFERENT_MEANS,
        button="Different devices",
    )
    def decide_different(
        self, request: HttpRequest, rows: QuerySet[IdentifierConflict]
    ) -> HttpResponse:
        return self._decide(request, rows, IdentifierConflict.Decision.DIFFERENT)

    @confirmed_action(
        description="They are the same device", explanation=SAME_MEANS, button="The same device"
    )
    def decide_same(self, request: HttpRequest, rows: QuerySet[IdentifierConflict]) -> HttpResponse:
        return self._decide(request, rows, IdentifierConflict.Decision.SAME)

    def _decide(
        self, request: HttpRequest, rows: QuerySet[IdentifierConflict], decision: str
    ) -> HttpResponse:
        def decide(row: IdentifierConflict) -> str:
            conflicts.decide(conflict=row, decision=decision, now=clock.now())
            return IdentifierConflict.Decision(decision).label

        outcomes = run_for_each(rows[:MAX_ROWS_PER_ACTION], decide)
        return results_page(self, request, "Identifier conflicts", outcomes)

    @action(description="Different devices", url_path="different", permissions=["decide"])
    def different_one(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        return self._confirm_one(request, object_id, "decide_different", DIFFERENT_MEANS)

    @action(description="The same device", url_path="same", permissions=["decide"])
    def same_one(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        return self._confirm_one(request, object_id, "decide_same", SAME_MEANS)

    def _confirm_one(
        self, request: HttpRequest, object_id: UUID, action_name: str, explanation: str
    ) -> HttpResponse:
        return confirmation_page(
            self,
            request,
            title="Identifier conflict",
            action=action_name,
            rows=self.get_queryset(request).filter(pk=object_id),
            explanation=explanation,
            button="The same device" if action_name == "decide_same" else "Different devices",
        )

    def has_decide_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        rows = visible_to(signed_in_user(request), IdentifierConflict).filter(decision="")
        return self.has_change_permission(request) and rows.filter(pk=object_id).exists()


def _link(device: Device) -> str:
    url = reverse("admin:devices_device_change", args=[device.pk])
    return format_html('<a href="{}">{}</a>', url, device.name)
