"""Portal pages that list, acknowledge, assign, comment on and close alerts."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from django.contrib import admin, messages
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils.html import format_html
from unfold.contrib.filters.admin import TextFilter
from unfold.decorators import display

from core import clock
from core.errors import DomainError
from core.templatetags.portal import relative_time
from devices.monitoring.models import Alert
from devices.monitoring.services import alerts
from devices.registry.models import Device
from tenants.admin.base import (
    MAX_ROWS_PER_ACTION,
    PageAdmin,
    ReadOnlyAdmin,
    confirmed_action,
    list_url,
    results_page,
    run_for_each,
    signed_in_user,
)
from tenants.admin.columns import choice_column, time_column
from tenants.admin.export import ExportMixin
from tenants.context import tenant_scope
from tenants.models import Membership
from tenants.roles import visible_to

MAX_ALL = 20_000  # alerts that one action on all of a list changes
BATCH = 500  # in one transaction

SEVERITIES = {"low": "default", "medium": "info", "high": "warning", "critical": "danger"}
CLOSED_MESSAGE = "Closed. No new alert opens until the cause has gone and occurs again."


class StatusFilter(admin.SimpleListFilter):
    """Filter alerts by whether they are open, acknowledged or closed."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [
            ("open", "Open, not acknowledged"),
            ("acknowledged", "Acknowledged"),
            ("closed", "Closed"),
            ("all", "All"),
        ]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Offer "Not closed", which is what the list shows first, instead of "All"."""
        for place, choice in enumerate(super().choices(changelist)):
            yield {**choice, "display": "Not closed"} if place == 0 else choice

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case Alert.Status.CLOSED:
                return queryset.filter(closed_at__isnull=False)
            case Alert.Status.OPEN:
                return queryset.filter(closed_at=None, acknowledged_at=None)
            case Alert.Status.ACKNOWLEDGED:
                return queryset.filter(closed_at=None, acknowledged_at__isnull=False)
            case "all":
                return queryset
        return queryset.filter(closed_at=None)


class SiteFilter(TextFilter):
    """Filter alerts by the name or id of the site of their device, and of the sites in it."""

    title = "site"
    parameter_name = "site"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = (self.value() or "").strip()
        if not value:
            return queryset
        devices: Any = visible_to(signed_in_user(request), Device)
        return queryset.filter(device__in=devices.at_site(value))


@admin.register(Alert)
class AlertAdmin(ExportMixin, PageAdmin, ReadOnlyAdmin):
    """The admin class of alerts. Members change alerts only through actions."""

    list_display = (
        "title",
        "severity_label",
        "device_link",
        "opened",
        "state",
        "site",
        "occurrences",
        "assignee",
    )
    list_filter = (StatusFilter, "severity", "kind", SiteFilter)
    list_select_related = ("tenant", "device__site", "assignee", "rule", "closed_by")
    search_fields = ("title__istartswith",)
    search_help_text = "Beginning of the title"
    ordering = ("-opened_at", "-id")
    export_columns = (
        ("id", lambda row: row.pk),
        ("title", lambda row: row.title),
        ("severity", lambda row: row.severity),
        ("kind", lambda row: row.kind),
        ("device_id", lambda row: row.device_id),
        ("device_name", lambda row: row.device.name if row.device else ""),
        ("opened_at", lambda row: row.opened_at),
        ("acknowledged_at", lambda row: row.acknowledged_at),
        ("closed_at", lambda row: row.closed_at),
        ("closed_by", lambda row: row.closed_by),
        ("assignee", lambda row: row.assignee),
        ("occurrences", lambda row: row.occurrences),
    )
    actions: Any = ("acknowledge_selected", "close_selected")
    change_form_outer_after_template = "portal/alert_page.html"
    fields = (
        "title",
        "state",
        "severity",
        "device_link",
        "rule_link",
        "opened",
        "reopened",
        "cause_since",
        "acknowledged",
        "assignee",
        "closed",
    )
    readonly_fields = fields

    def get_urls(self) -> list[Any]:
        urls = [
            path(
                f"<path:object_id>/{name}/",
                self.admin_site.admin_view(view),
                name=f"monitoring_alert_{name}",
            )
            for name, view in (
                ("comment", self.comment),
                ("assign", self.assign),
                ("acknowledge", self.acknowledge),
                ("close", self.close),
            )
        ]
        return [*urls, *super().get_urls()]

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        still_silent_first = (F("returned_at").asc(nulls_first=True), "id")
        memberships = Membership.objects.select_related("user")
        return {
            "alert": row,
            "comments": list(row.comments.all()),
            "members": list(
                row.members.select_related("device").order_by(*still_silent_first)[:100]
            ),
            "memberships": list(memberships.order_by("user__email")[:500]),
            "may_manage": self.has_manage_permission(request),
        }

    severity_label = choice_column("Severity", "severity", SEVERITIES)

    @display(
        description="State",
        label={"open": "danger", "acknowledged": "warning", "closed": "default"},
    )
    def state(self, alert: Alert) -> str:
        return alert.status

    @admin.display(description="Device")
    def device_link(self, alert: Alert) -> str:
        if alert.device is None:
            return f"{alert.devices:,} devices"
        url = reverse("admin:devices_device_change", args=[alert.device_id])
        return format_html('<a href="{}">{}</a>', url, alert.device.name)

    @admin.display(description="Site")
    def site(self, alert: Alert) -> str:
        return str((alert.device and alert.device.site) or "-")

    @admin.display(description="Rule")
    def rule_link(self, alert: Alert) -> str:
        if alert.rule is None:
            return "none: an incident of many devices"
        if alert.rule.archived_at:
            return f"{alert.rule} (deleted)"
        url = reverse("admin:monitoring_monitoringrule_change", args=[alert.rule_id])
        return format_html('<a href="{}">{}</a>', url, alert.rule)

    @admin.display(description="Reopened")
    def reopened(self, alert: Alert) -> str:
        if alert.reopened_at is None:
            return "no"
        last_time = relative_time(alert.reopened_at)
        return format_html("{}, open {} times in all", last_time, alert.occurrences)

    opened = time_column("Opened", "opened_at", is_sortable=True)
    cause_since = time_column("Start of the cause", "since")

    @admin.display(description="Acknowledged")
    def acknowledged(self, alert: Alert) -> str:
        if alert.acknowledged_at is None:
            return "no"
        user = alert.acknowledged_by
        name = user.email if user else "unknown user"
        return format_html("{}, by {}", relative_time(alert.acknowledged_at), name)

    @admin.display(description="Closed")
    def closed(self, alert: Alert) -> str:
        if alert.closed_at is None:
            return "no"
        reason = alert.get_closing_display()
        if alert.closed_by is not None:
            reason = f"{reason}, {alert.closed_by.email}"
        return format_html("{}: {}", relative_time(alert.closed_at), reason)

    @admin.action(description="Acknowledge selected alerts", permissions=["manage"])
    def acknowledge_selected(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse:
        def acknowledge(alert: Alert) -> str:
            alerts.acknowledge(alert_id=alert.pk, now=clock.now())
            return "Acknowledged."

        if request.POST.get("select_across") == "1":
            return self._change_all(request, rows, alerts.acknowledge_batch, "acknowledged")
        outcomes = run_for_each(rows[:MAX_ROWS_PER_ACTION], acknowledge)
        return results_page(self, request, "Acknowledged", outcomes)

    @confirmed_action(
        description="Close selected alerts",
        explanation="No new alert opens until the cause has gone and occurs again.",
        button="Close",
        permissions=["manage"],
        most=MAX_ALL,
    )
    def close_selected(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse:
        def close(alert: Alert) -> str:
            alerts.close(alert_id=alert.pk, now=clock.now())
            return CLOSED_MESSAGE

        if request.POST.get("select_across") == "1":
            return self._change_all(request, rows, alerts.close_batch, "closed")
        outcomes = run_for_each(rows[:MAX_ROWS_PER_ACTION], close)
        return results_page(self, request, "Closed", outcomes)

    def _change_all(
        self, request: HttpRequest, rows: QuerySet[Any], change: Callable[..., int], participle: str
    ) -> HttpResponse:
        """Change all alerts that the list shows with its filters, in batches."""
        found = rows.order_by("tenant_id", "pk").values_list("tenant_id", "pk")[:MAX_ALL]
        by_tenant: dict[Any, list[Any]] = defaultdict(list)
        for tenant_id, pk in found:
            by_tenant[tenant_id].append(pk)
        count = 0
        for tenant_id, ids in by_tenant.items():
            with tenant_scope(tenant_id):
                for start in range(0, len(ids), BATCH):
                    count += change(ids[start : start + BATCH], now=clock.now())
        self.message_user(request, f"{count:,} alerts were {participle}.", messages.SUCCESS)
        if sum(map(len, by_tenant.values())) == MAX_ALL:
            self.message_user(request, "There may be more. Repeat the action for them.")
        return redirect(list_url(self))

    def acknowledge(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._change(
            request,
            object_id,
            lambda alert: alerts.acknowledge(alert_id=alert.pk, now=clock.now()),
            "Acknowledged.",
        )

    def close(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._change(
            request,
            object_id,
            lambda alert: alerts.close(alert_id=alert.pk, now=clock.now()),
            CLOSED_MESSAGE,
        )

    def comment(self, request: HttpRequest, object_id: str) -> HttpResponse:
        text = request.POST.get("text", "").replace("\x00", "").strip()[:2000]
        if not text:
            return self._redirect_to_alert(object_id)
        return self._change(
            request,
            object_id,
            lambda alert: alerts.comment(alert_id=alert.pk, text=text, now=clock.now()),
            "Comment added.",
        )

    def assign(self, request: HttpRequest, object_id: str) -> HttpResponse:
        email = request.POST.get("assignee", "").replace("\x00", "")[:254] or None
        return self._change(
            request,
            object_id,
            lambda alert: alerts.assign(alert_id=alert.pk, email=email, now=clock.now()),
            "Assigned." if email else "Assignee removed.",
        )

    def _change(
        self, request: HttpRequest, object_id: str, act: Any, success_message: str
    ) -> HttpResponse:
        alert = self.get_object(request, object_id)
        if alert is None or not self.has_manage_permission(request):
            return redirect("admin:index")
        if request.method != "POST":
            return self._redirect_to_alert(object_id)
        try:
            with tenant_scope(alert.tenant_id):
                act(alert)
        except DomainError as error:
            messages.error(request, str(error))
        else:
            messages.success(request, success_message)
        return self._redirect_to_alert(object_id)

    def _redirect_to_alert(self, object_id: str) -> HttpResponse:
        return redirect("admin:monitoring_alert_change", object_id)
