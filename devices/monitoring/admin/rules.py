"""Rules in the portal, with their back-test and what is different for tags and devices."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.decorators import action, display

from devices.monitoring.admin.alerts import SEVERITIES
from devices.monitoring.admin.device_panel import condition_in_words
from devices.monitoring.admin.forms import OverrideForm, RuleForm
from devices.monitoring.models import MonitoringRule, RuleOverride
from devices.monitoring.services import back_testing, rules
from tenants.admin.base import (
    MOST_AT_ONCE,
    DeletesWhole,
    PortalAdmin,
    ReadOnlyInline,
    act_on_each,
    person,
    report_page,
)
from tenants.context import tenant_scope
from tenants.roles import visible_to

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

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with tenant_scope(obj.tenant_id):
            rules.delete(rule=obj, now=timezone.now())

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

        outcomes = act_on_each(rows[:MOST_AT_ONCE], switch)
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
class OverrideAdmin(DeletesWhole, PortalAdmin):
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

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with tenant_scope(obj.tenant_id):
            rules.remove_override(override=obj, now=timezone.now())

    @admin.display(description="For")
    def subject(self, override: RuleOverride) -> str:
        return f"tag {override.tag}" if override.tag else str(override.device)
