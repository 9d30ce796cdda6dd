"""Portal pages of rules, their back-tests and their overrides."""

from typing import Any, ClassVar
from uuid import UUID, uuid4

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.views.decorators.http import require_POST
from unfold.decorators import action, display

from core import clock
from devices.monitoring.admin.alerts import SEVERITIES
from devices.monitoring.admin.device_panel import condition_text
from devices.monitoring.admin.forms import OverrideForm, RuleForm
from devices.monitoring.models import MonitoringRule, RuleOverride, RuleQuerySet
from devices.monitoring.services import back_testing, rules
from devices.monitoring.services.rule_templates import EXPLANATIONS
from tenants.admin.base import (
    MAX_ROWS_PER_ACTION,
    CascadeDeleteMixin,
    PortalAdmin,
    ReadOnlyInline,
    confirmed_action,
    results_page,
    run_for_each,
    signed_in_user,
)
from tenants.admin.columns import choice_column
from tenants.context import tenant_scope
from tenants.roles import visible_to

BACK_TEST_DAYS = (1, 7, 14, 30)


def _not_archived(queryset: QuerySet[Any]) -> RuleQuerySet:
    """Leave out archived rules, which `visible_to` returns to superusers."""
    assert isinstance(queryset, RuleQuerySet)
    return queryset.not_archived()


class OverrideInline(ReadOnlyInline):
    model = RuleOverride
    fields = (
        "site",
        "tag",
        "device",
        "threshold",
        "clear_threshold",
        "lasting_seconds",
        "severity",
        "is_enabled",
    )
    readonly_fields = fields
    verbose_name_plural = "Overrides for sites, tags and devices"


@admin.register(MonitoringRule)
class RuleAdmin(CascadeDeleteMixin, PortalAdmin):
    """The admin class of rules, with a back-test page for each rule."""

    list_display = ("name", "condition", "severity_label", "scope_label", "state")
    list_filter = ("is_enabled", "kind", "severity")
    list_select_related = ("tenant", "tag", "device", "site")
    search_fields = ("name__istartswith",)
    ordering = ("name", "id")
    inlines: Any = (OverrideInline,)
    actions: Any = ("switch_on", "switch_off")
    actions_detail: Any = ("back_test",)
    service_form = RuleForm
    change_form_after_template = "portal/rule_preview.html"
    # The form reads as a sentence: when something lasts on some devices, raise an alert.
    fieldsets: Any = (
        (None, {"fields": ("name",)}),
        ("When", {"fields": ("kind", ("measure", "operator"), ("threshold", "lasting_minutes"))}),
        ("On", {"fields": ("scope", "site_name", "tag_name", "device_id")}),
        ("Raise", {"fields": ("severity", "is_enabled")}),
        (
            "More: close later, escalate, alert hours",
            {
                "classes": ("collapse",),
                "fields": (
                    ("clear_threshold", "cool_down_minutes"),
                    ("escalation_threshold", "escalation_severity"),
                    "no_data",
                    "weekdays",
                    ("opens_at", "closes_at"),
                    "time_zone",
                ),
            },
        ),
    )
    conditional_fields: ClassVar = {
        "measure": "kind == 'metric'",
        "operator": "kind == 'metric'",
        "no_data": "kind == 'metric'",
        "site_name": "scope == 'site'",
        "tag_name": "scope == 'tag'",
        "device_id": "scope == 'device'",
    }

    class Media:
        js = ("portal/rule.js",)

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(require_POST(self.preview))
        return [path("preview/", view, name="monitoring_rule_preview"), *super().get_urls()]

    def preview(self, request: HttpRequest) -> HttpResponse:
        """Back-test the rule of a form that is not saved. Return HTML for the form's page."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        data = request.POST.copy()
        data["name"] = f"{data.get('name', '')[:60]} {uuid4()}"  # no rule has this name
        if saved := self.get_object(request, data.get("preview_rule", "")):
            data["tenant"] = str(saved.tenant_id)  # the form of a saved rule has no such field
        form = RuleForm.for_user(signed_in_user(request))(data)
        with transaction.atomic():
            is_valid = form.is_valid()
            transaction.set_rollback(True)  # the form has saved the rule
        context: dict[str, Any] = {"errors": _errors(form)}
        if is_valid:
            rule = form.instance
            with tenant_scope(rule.tenant_id):
                result = back_testing.back_test(rule, days=7, now=clock.now())
            context |= {"result": result, "condition": condition_text(rule, rule.threshold)}
        return TemplateResponse(request, "portal/rule_preview_result.html", context).render()

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add what the alerts of a template rule mean."""
        rule = context.get("original")
        context["explanation"] = EXPLANATIONS.get(rule.template, "") if rule else ""
        return super().render_change_form(request, context, *args, **kwargs)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return _not_archived(super().get_queryset(request))

    def get_inlines(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.inlines if obj else ()

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with tenant_scope(obj.tenant_id):
            rules.archive(rule=obj, now=clock.now())

    @admin.display(description="Condition")
    def condition(self, rule: MonitoringRule) -> str:
        return condition_text(rule, rule.threshold)

    severity_label = choice_column("Severity", "severity", SEVERITIES)

    @admin.display(description="Scope")
    def scope_label(self, rule: MonitoringRule) -> str:
        if rule.scope == rule.Scope.TAG:
            return f"tag {rule.tag}"
        if rule.scope == rule.Scope.SITE:
            return f"site {rule.site}"
        return str(rule.device or "all devices")

    @display(description="State", label={"enabled": "success", "disabled": "default"})
    def state(self, rule: MonitoringRule) -> str:
        return "enabled" if rule.is_enabled else "disabled"

    @admin.action(description="Enable", permissions=["change"])
    def switch_on(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse:
        return self._set_enabled(request, rows, is_enabled=True)

    @confirmed_action(
        description="Disable rules and close their alerts",
        explanation="They open no more alerts until they are enabled again.",
        button="Disable",
    )
    def switch_off(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse:
        return self._set_enabled(request, rows, is_enabled=False)

    def _set_enabled(
        self, request: HttpRequest, rows: QuerySet[Any], *, is_enabled: bool
    ) -> HttpResponse:
        def update(rule: MonitoringRule) -> str:
            rules.update(rule=rule, is_enabled=is_enabled, now=clock.now())
            return "Enabled." if is_enabled else "Disabled."

        outcomes = run_for_each(rows[:MAX_ROWS_PER_ACTION], update)
        return results_page(self, request, "Rules", outcomes)

    @action(description="Back-test", url_path="back-test", permissions=["view"])
    def back_test(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Show how many alerts the rule would have opened, by day and by device."""
        rule = self.get_object(request, str(object_id))
        if rule is None:
            return redirect("admin:index")
        parameter = request.GET.get("days", "7")
        days = int(parameter) if parameter in map(str, BACK_TEST_DAYS) else 7
        with tenant_scope(rule.tenant_id):
            result = back_testing.back_test(rule, days=days, now=clock.now())
        highest = max([*result.by_day.values(), 1])
        context = {
            **self.admin_site.each_context(request),
            "title": f"Back-test of {rule.name}",
            "opts": self.opts,
            "rule": rule,
            "condition": condition_text(rule, rule.threshold),
            "result": result,
            "bars": [
                {
                    "label": f"{day:%d %b}" if result.days <= 14 else f"{day:%d}",
                    "count": count,
                    "height": round(75 * count / highest),
                }
                for day, count in result.by_day.items()
            ],
            "spans": BACK_TEST_DAYS,
        }
        return TemplateResponse(request, "portal/back_test.html", context)


def _errors(form: Any) -> list[str]:
    return [
        f"{form.fields[name].label}: {sentence}" if name in form.fields else sentence
        for name, sentences in form.errors.items()
        for sentence in sentences
    ]


@admin.register(RuleOverride)
class OverrideAdmin(CascadeDeleteMixin, PortalAdmin):
    """The admin class of overrides for sites, tags and devices. They are replaced, not edited."""

    list_display = ("rule", "subject", "threshold", "severity", "is_enabled")
    list_select_related = ("tenant", "rule", "tag", "device", "site")
    ordering = ("rule__name", "id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(rule__archived_at=None)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = OverrideForm.for_user(signed_in_user(request))
        rule_field: Any = form.base_fields["rule"]
        rule_field.queryset = _not_archived(visible_to(signed_in_user(request), MonitoringRule))
        return form

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        names = [name for name in OverrideForm.base_fields if name != "tenant"]
        return ((None, {"fields": names}),)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and super().has_change_permission(request)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with tenant_scope(obj.tenant_id):
            rules.remove_override(override=obj, now=clock.now())

    @admin.display(description="Site, tag or device")
    def subject(self, override: RuleOverride) -> str:
        if override.site:
            return f"site {override.site}"
        return f"tag {override.tag}" if override.tag else str(override.device)
