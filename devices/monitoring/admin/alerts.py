"""Alerts in the portal: seen, given to someone, talked about, closed."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.decorators import display

from core.errors import DomainError
from core.templatetags.portal import moment_in_words
from devices.monitoring.models import Alert
from devices.monitoring.services import alerts
from tenants.admin.base import MOST_AT_ONCE, ReadOnlyAdmin, act_on_each, report_page
from tenants.context import tenant_scope
from tenants.models import Membership

SEVERITIES = {
    "low": "default",
    "medium": "info",
    "high": "warning",
    "critical": "danger",
}


class StatusFilter(admin.SimpleListFilter):
    """Open, acknowledged or closed."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return Alert.Status.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case Alert.Status.CLOSED:
                return queryset.filter(closed_at__isnull=False)
            case Alert.Status.OPEN:
                return queryset.filter(closed_at=None, acknowledged_at=None)
            case Alert.Status.ACKNOWLEDGED:
                return queryset.filter(closed_at=None, acknowledged_at__isnull=False)
        return queryset


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    """What somebody should see to: seen, given to someone, talked about, closed."""

    list_display = ("title", "shown_severity", "where", "state", "opened", "assignee")
    list_filter = (StatusFilter, "severity", "kind")
    list_select_related = ("tenant", "device", "assignee")
    search_fields = ("title__istartswith",)
    search_help_text = "How the title begins"
    ordering = ("-opened_at", "-id")
    actions: Any = ("acknowledge_selected", "close_selected")
    change_form_outer_after_template = "portal/alert_page.html"
    fields = (
        *("title", "state", "severity", "where", "rule", "opened", "began"),
        *("acknowledged", "assignee", "closed"),
    )
    readonly_fields = fields

    def get_urls(self) -> list[Any]:
        own = [
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
        return [*own, *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        more: dict[str, Any] = {}
        alert = self.get_object(request, object_id)
        if alert is not None and self.has_view_permission(request, alert):
            with tenant_scope(alert.tenant_id):
                more = {
                    "alert": alert,
                    "comments": list(alert.comments.all()),
                    "members": list(
                        alert.members.select_related("device").order_by(
                            F("returned_at").asc(nulls_first=True), "id"
                        )[:100]
                    ),
                    "people": list(
                        Membership.objects.select_related("user").order_by(
                            "user__email"
                        )[:500]
                    ),
                    "may_manage": self.has_manage_permission(request),
                }
        return super().change_view(
            request, object_id, form_url, {**(extra_context or {}), **more}
        )

    @display(description="Severity", label=SEVERITIES)
    def shown_severity(self, alert: Alert) -> tuple[str, str]:
        return alert.severity, alert.get_severity_display()

    @display(
        description="State",
        label={"open": "danger", "acknowledged": "warning", "closed": "default"},
    )
    def state(self, alert: Alert) -> str:
        return alert.status

    @admin.display(description="Device")
    def where(self, alert: Alert) -> str:
        if alert.device is None:
            return f"{alert.devices:,} devices"
        url = reverse("admin:devices_device_change", args=[alert.device_id])
        return format_html('<a href="{}">{}</a>', url, alert.device.name)

    @admin.display(description="Opened", ordering="opened_at")
    def opened(self, alert: Alert) -> str:
        return moment_in_words(alert.opened_at)

    @admin.display(description="Since")
    def began(self, alert: Alert) -> str:
        return moment_in_words(alert.since)

    @admin.display(description="Acknowledged")
    def acknowledged(self, alert: Alert) -> str:
        if alert.acknowledged_at is None:
            return "no"
        who = alert.acknowledged_by.email if alert.acknowledged_by else "somebody"
        return format_html("{}, by {}", moment_in_words(alert.acknowledged_at), who)

    @admin.display(description="Closed")
    def closed(self, alert: Alert) -> str:
        if alert.closed_at is None:
            return "no"
        why = alert.get_closing_display()
        return format_html("{}: {}", moment_in_words(alert.closed_at), why)

    @admin.action(description="Acknowledge selected alerts", permissions=["manage"])
    def acknowledge_selected(
        self, request: HttpRequest, rows: QuerySet[Any]
    ) -> HttpResponse:
        def acknowledge(alert: Alert) -> str:
            alerts.acknowledge(alert_id=alert.pk, now=timezone.now())
            return "Acknowledged."

        outcomes = act_on_each(rows[:MOST_AT_ONCE], acknowledge)
        return report_page(self, request, "Acknowledged", outcomes)

    @admin.action(description="Close selected alerts", permissions=["manage"])
    def close_selected(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse:
        def close(alert: Alert) -> str:
            alerts.close(alert_id=alert.pk, now=timezone.now())
            return "Closed; it is not opened again before its cause has gone."

        outcomes = act_on_each(rows[:MOST_AT_ONCE], close)
        return report_page(self, request, "Closed", outcomes)

    def acknowledge(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._do(
            request,
            object_id,
            lambda alert: alerts.acknowledge(alert_id=alert.pk, now=timezone.now()),
            "Acknowledged.",
        )

    def close(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._do(
            request,
            object_id,
            lambda alert: alerts.close(alert_id=alert.pk, now=timezone.now()),
            "Closed; it is not opened again before its cause has gone.",
        )

    def comment(self, request: HttpRequest, object_id: str) -> HttpResponse:
        said = request.POST.get("text", "").replace("\x00", "").strip()[:2000]
        if not said:
            return self._back(object_id)
        return self._do(
            request,
            object_id,
            lambda alert: alerts.comment(
                alert_id=alert.pk, text=said, now=timezone.now()
            ),
            "Your comment is there.",
        )

    def assign(self, request: HttpRequest, object_id: str) -> HttpResponse:
        email = request.POST.get("assignee", "").replace("\x00", "")[:254] or None
        return self._do(
            request,
            object_id,
            lambda alert: alerts.assign(
                alert_id=alert.pk, email=email, now=timezone.now()
            ),
            "Assigned." if email else "Nobody sees to it now.",
        )

    def _do(
        self, request: HttpRequest, object_id: str, act: Any, done: str
    ) -> HttpResponse:
        alert = self.get_object(request, object_id)
        if alert is None or not self.has_manage_permission(request):
            return redirect("admin:index")
        if request.method != "POST":
            return self._back(object_id)
        try:
            with tenant_scope(alert.tenant_id):
                act(alert)
        except DomainError as error:
            messages.error(request, str(error))
        else:
            messages.success(request, done)
        return self._back(object_id)

    def _back(self, object_id: str) -> HttpResponse:
        return redirect("admin:monitoring_alert_change", object_id)
