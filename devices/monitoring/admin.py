"""The monitoring in the portal: rules with their back-test, alerts that need someone."""

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.decorators import action, display

from devices.monitoring import alerts, back_testing, rules
from devices.monitoring.forms import OverrideForm, RuleForm
from devices.monitoring.models import Alert, MonitoringRule, RuleOverride
from devices.monitoring.portal import condition_in_words
from provisioning.errors import DomainError
from tenants.context import tenant_scope
from tenants.models import Membership
from tenants.portal import (
    MOST_AT_ONCE,
    DeletesWhole,
    PortalAdmin,
    ReadOnlyAdmin,
    ReadOnlyInline,
    act_on_each,
    person,
    report_page,
)
from tenants.roles import visible_to
from tenants.templatetags.portal import moment_in_words

SEVERITIES = {
    "low": "default",
    "medium": "info",
    "high": "warning",
    "critical": "danger",
}
BACK_TESTS = (1, 7, 14, 30)  # days


class OverrideInline(ReadOnlyInline):
    model = RuleOverride
    fields = (
        *("tag", "device", "threshold", "clear_threshold"),
        *("lasting_seconds", "severity", "is_enabled"),
    )
    readonly_fields = fields
    verbose_name_plural = "What is different for tags and devices"


@admin.register(MonitoringRule)
class RuleAdmin(DeletesWhole, PortalAdmin):
    """What is to be noticed; how often it would have been, before it is switched on."""

    list_display = ("name", "condition", "shown_severity", "about", "state")
    list_filter = ("is_enabled", "kind", "severity")
    list_select_related = ("tenant", "tag", "device")
    search_fields = ("name__istartswith",)
    ordering = ("name", "id")
    inlines: Any = (OverrideInline,)
    actions: Any = ("switch_on", "switch_off")
    actions_detail: Any = ("back_test",)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        return RuleForm.for_person(person(request))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        first = ["name", "kind", ("measure", "operator"), "threshold", "is_enabled"]
        if obj is None and person(request).is_superuser:
            first.insert(0, "tenant")
        worse = ("escalation_threshold", "escalation_severity")
        hours = ("opens_at", "closes_at")
        return (
            (None, {"fields": first}),
            (
                "How it opens and closes",
                {
                    "fields": (
                        "severity",
                        ("clear_threshold", "lasting_minutes"),
                        worse,
                        ("cool_down_minutes", "no_data"),
                    )
                },
            ),
            ("What it is about", {"fields": ("scope", ("tag_name", "device_id"))}),
            ("When alerts may be opened", {"fields": ("weekdays", hours, "time_zone")}),
        )

    def get_inlines(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.inlines if obj else ()

    def save_model(
        self, request: HttpRequest, obj: Any, form: Any, change: bool
    ) -> None:
        """The form has called the service; there is nothing left to save."""

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with tenant_scope(obj.tenant_id):
            rules.delete(rule=obj, now=timezone.now())

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for rule in queryset:
            self.delete_model(request, rule)

    @admin.display(description="Watches")
    def condition(self, rule: MonitoringRule) -> str:
        return condition_in_words(rule, rule.threshold)

    @display(description="Severity", label=SEVERITIES)
    def shown_severity(self, rule: MonitoringRule) -> tuple[str, str]:
        return rule.severity, rule.get_severity_display()

    @admin.display(description="About")
    def about(self, rule: MonitoringRule) -> str:
        if rule.scope == rule.Scope.TAG:
            return f"tag {rule.tag}"
        return str(rule.device or "all devices")

    @display(description="State", label={"on": "success", "off": "default"})
    def state(self, rule: MonitoringRule) -> str:
        return "on" if rule.is_enabled else "off"

    @admin.action(description="Switch on", permissions=["change"])
    def switch_on(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse:
        return self._switch(request, rows, on=True)

    @admin.action(description="Switch off; close their alerts", permissions=["change"])
    def switch_off(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse:
        return self._switch(request, rows, on=False)

    def _switch(
        self, request: HttpRequest, rows: QuerySet[Any], *, on: bool
    ) -> HttpResponse:
        def switch(rule: MonitoringRule) -> str:
            rules.update(rule=rule, is_enabled=on, now=timezone.now())
            return "Switched on." if on else "Switched off."

        outcomes = act_on_each(
            rows[:MOST_AT_ONCE], switch, of_tenant=lambda rule: rule.tenant_id
        )
        return report_page(self, request, "Rules", outcomes)

    @action(description="Back-test", url_path="back-test", permissions=["view"])
    def back_test(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """How often it would have fired, and where."""
        rule = self.get_object(request, str(object_id))
        if rule is None:
            return redirect("admin:index")
        said = request.GET.get("days", "7")
        days = int(said) if said in map(str, BACK_TESTS) else 7
        with tenant_scope(rule.tenant_id):
            told = back_testing.back_test(rule, days=days, now=timezone.now())
        highest = max([*told.by_day.values(), 1])
        context = {
            **self.admin_site.each_context(request),
            "title": f"Back-test of {rule.name}",
            "opts": self.opts,
            "rule": rule,
            "words": condition_in_words(rule, rule.threshold),
            "told": told,
            "bars": [
                {
                    "label": f"{day:%d %b}" if told.days <= 14 else f"{day:%d}",
                    "count": count,
                    "height": round(75 * count / highest),
                }
                for day, count in told.by_day.items()
            ],
            "spans": BACK_TESTS,
        }
        return TemplateResponse(request, "portal/back_test.html", context)


@admin.register(RuleOverride)
class OverrideAdmin(PortalAdmin):
    """What is different for a tag or a device; made anew rather than changed."""

    list_display = ("rule", "subject", "threshold", "severity", "is_enabled")
    list_select_related = ("tenant", "rule", "tag", "device")
    ordering = ("rule__name", "id")

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = OverrideForm.for_person(person(request))
        choices: Any = form.base_fields["rule"]
        choices.queryset = visible_to(person(request), MonitoringRule)
        return form

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        names = [name for name in OverrideForm.base_fields if name != "tenant"]
        return ((None, {"fields": names}),)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and super().has_change_permission(request)

    def save_model(
        self, request: HttpRequest, obj: Any, form: Any, change: bool
    ) -> None:
        """The form has called the service; there is nothing left to save."""

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with tenant_scope(obj.tenant_id):
            rules.remove_override(override=obj, now=timezone.now())

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for override in queryset:
            self.delete_model(request, override)

    @admin.display(description="For")
    def subject(self, override: RuleOverride) -> str:
        return f"tag {override.tag}" if override.tag else str(override.device)


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
                            "returned_at", "id"
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

        outcomes = act_on_each(rows[:MOST_AT_ONCE], acknowledge, of_tenant=_tenant)
        return report_page(self, request, "Acknowledged", outcomes)

    @admin.action(description="Close selected alerts", permissions=["manage"])
    def close_selected(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse:
        def close(alert: Alert) -> str:
            alerts.close(alert_id=alert.pk, now=timezone.now())
            return "Closed; it is not opened again before its cause has gone."

        outcomes = act_on_each(rows[:MOST_AT_ONCE], close, of_tenant=_tenant)
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


def _tenant(row: Any) -> Any:
    return row.tenant_id
