"""Portal forms for rules and overrides."""

from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from core import clock
from devices.metrics.measures import CHOICES
from devices.monitoring.models import EVERY_DAY, MonitoringRule, RuleOverride
from devices.monitoring.services import rules
from devices.registry.admin.subject_form import SubjectForm
from events.severity import Severity
from tenants.admin.forms import switch_field, tenant_field, text_field

MAX_MINUTES = 366 * 24 * 60
WEEKDAYS = [
    (1, "Monday"),
    (2, "Tuesday"),
    (3, "Wednesday"),
    (4, "Thursday"),
    (5, "Friday"),
    (6, "Saturday"),
    (7, "Sunday"),
]
EMPTY_CHOICE = ("", "---------")
WATCHED = [
    ("metric", "A metric, such as CPU usage"),
    ("silence", "Silence: a device has no contact"),
    ("certificate", "A certificate that expires"),
    ("drift", "A configuration that is not applied"),
]


def number(label: str, *, required: bool = False, **kwargs: Any) -> Any:
    return forms.FloatField(
        label=label,
        required=required,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
        **kwargs,
    )


def minutes(label: str, **kwargs: Any) -> Any:
    return forms.IntegerField(
        label=label,
        required=False,
        min_value=0,
        max_value=MAX_MINUTES,
        widget=UnfoldAdminIntegerFieldWidget(),
        **kwargs,
    )


def choice(label: str, choices: Any, *, required: bool = True, **kwargs: Any) -> Any:
    options = list(choices) if required else [EMPTY_CHOICE, *choices]
    return forms.ChoiceField(
        label=label,
        choices=options,
        required=required,
        widget=UnfoldAdminSelectWidget(choices=options),
        **kwargs,
    )


class RuleForm(SubjectForm):
    """Form for a rule, with durations in minutes."""

    tenant = tenant_field()
    name = text_field("Name", required=True, length=120)
    kind = choice("What is watched", WATCHED)
    measure = choice("Metric", CHOICES, required=False)
    operator = choice(
        "is", MonitoringRule.Operator.choices, required=False, help_text="If empty: above."
    )
    threshold = number(
        "Threshold",
        required=True,
        help_text=(
            "Of a metric, in its unit. Otherwise minutes without contact or without the desired"
            " configuration, or days until the certificate expires."
        ),
    )
    clear_threshold = number(
        "Clear threshold",
        help_text=(
            "The value at which an alert closes, for example 80 for a threshold of 90."
            " If empty, it closes at the threshold itself."
        ),
    )
    lasting_minutes = minutes(
        "for (minutes)",
        help_text=(
            "How long this must last before an alert opens. If empty, it opens immediately."
        ),
    )
    severity = choice("Severity", Severity.choices, initial=Severity.MEDIUM)
    escalation_threshold = number(
        "Escalation threshold",
        help_text=(
            "The severity is raised when the value is beyond this threshold."
            " If empty, the severity is not raised."
        ),
    )
    escalation_severity = choice("Escalation severity", Severity.choices, required=False)
    scope = choice("Devices", MonitoringRule.Scope.choices)
    site_name = text_field("Site", length=120, help_text="Name of the site.")
    tag_name = text_field("Tag")
    device_id = text_field("Device", length=120, help_text="Id or name of the device.")
    cool_down_minutes = minutes(
        "Cool-down (minutes)",
        help_text=("Time after an alert closes in which no new alert opens for the device."),
    )
    no_data = choice(
        "Missing data",
        MonitoringRule.NoData.choices,
        required=False,
        help_text="What happens when a device does not send the metric.",
    )
    weekdays = forms.TypedMultipleChoiceField(
        label="Weekdays",
        help_text="Alerts open only on these days.",
        choices=WEEKDAYS,
        coerce=int,
        initial=EVERY_DAY,
        widget=UnfoldAdminCheckboxSelectMultipleWidget(),
    )
    opens_at = forms.TimeField(
        label="Start time",
        help_text="Alerts open only at or after this time. If empty, midnight is used.",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "time"}),
    )
    closes_at = forms.TimeField(
        label="End time",
        help_text=(
            "Alerts open only before this time. If empty, midnight is used."
            " An end time before the start time is on the next day."
        ),
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "time"}),
    )
    time_zone = text_field(
        "Time zone", required=True, initial="UTC", help_text="For example Europe/Berlin."
    )
    is_enabled = switch_field(
        "Enabled",
        help_text="A new rule starts switched off. Look at its back-test below before you switch"
        " it on.",
    )

    class Meta:
        model = MonitoringRule
        fields = ("name",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rule = self.instance
        if rule._state.adding:
            return
        for name in self.fields:
            if hasattr(rule, name) and name != "tenant":
                self.initial.setdefault(name, getattr(rule, name))
        self.initial.update(
            lasting_minutes=round(rule.lasting_seconds / 60) or None,
            cool_down_minutes=round(rule.cool_down_seconds / 60) or None,
            site_name=str(rule.site or ""),
            tag_name=rule.tag.name if rule.tag else "",
            device_id=str(rule.device_id or ""),
        )
        self.fields["kind"].disabled = True

    def call_service(self) -> MonitoringRule:
        fields = dict(self.cleaned_data)
        fields |= self.subject()
        del fields["site_name"], fields["tag_name"], fields["device_id"]
        for name in ("lasting", "cool_down"):
            value = fields.pop(f"{name}_minutes") or 0
            if f"{name}_minutes" in self.changed_data:
                # Unchanged values are kept, because they may not be whole minutes.
                fields[f"{name}_seconds"] = 60 * value
        fields["operator"] = fields["operator"] or MonitoringRule.Operator.ABOVE.value
        fields["no_data"] = fields["no_data"] or MonitoringRule.NoData.KEEP.value
        now = clock.now()
        if self.instance._state.adding:
            return rules.create(now=now, **fields)
        del fields["kind"]
        return rules.update(rule=self.instance, now=now, **fields)


class OverrideForm(SubjectForm):
    """Form for an override of a rule for a site, a tag or a device."""

    rule: Any = forms.ModelChoiceField(queryset=None, widget=UnfoldAdminSelectWidget())
    site_name = text_field("Site", length=120, help_text="Enter one of a site, a tag or a device.")
    tag_name = text_field("Tag")
    device_id = text_field("Device", length=120, help_text="ID or name.")
    threshold = number("Threshold", help_text="If empty, the threshold of the rule is used.")
    clear_threshold = number(
        "Clear threshold", help_text="If empty, the rule's clear threshold is used."
    )
    lasting_minutes = minutes(
        "Duration (minutes)", help_text="If empty, the duration of the rule is used."
    )
    severity = choice(
        "Severity",
        Severity.choices,
        required=False,
        help_text="If empty, the severity of the rule is used.",
    )
    is_enabled = choice(
        "Enabled",
        (("true", "Yes"), ("false", "No")),
        required=False,
        help_text="If empty, the setting of the rule is used.",
    )

    class Meta:
        model = RuleOverride
        fields = ("rule",)

    def tenant_id(self) -> Any:
        return self.cleaned_data["rule"].tenant_id

    def call_service(self) -> RuleOverride:
        fields = self.cleaned_data
        lasting_minutes = fields["lasting_minutes"]
        return rules.override(
            rule=fields["rule"],
            subject=self.subject(),
            now=clock.now(),
            threshold=fields["threshold"],
            clear_threshold=fields["clear_threshold"],
            lasting_seconds=None if lasting_minutes is None else 60 * lasting_minutes,
            severity=fields["severity"] or None,
            is_enabled={"true": True, "false": False}.get(fields["is_enabled"]),
        )
