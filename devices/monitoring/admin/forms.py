"""The portal's forms of the monitoring: each calls its service and shows what it refuses."""

from typing import Any
from uuid import UUID

from django import forms
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from devices.metrics.measures import CHOICES
from devices.monitoring.errors import InvalidRule
from devices.monitoring.models import EVERY_DAY, MonitoringRule, RuleOverride
from devices.monitoring.services import rules
from devices.registry.models import Device, Tag
from events.severity import Severity
from tenants.admin.forms import ServiceForm, tenant_field, text

MAX_MINUTES = 366 * 24 * 60
WEEKDAYS = [
    *((1, "Monday"), (2, "Tuesday"), (3, "Wednesday"), (4, "Thursday")),
    *((5, "Friday"), (6, "Saturday"), (7, "Sunday")),
]
NOTHING = ("", "---------")


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
    offered = list(choices) if required else [NOTHING, *choices]
    return forms.ChoiceField(
        label=label,
        choices=offered,
        required=required,
        widget=UnfoldAdminSelectWidget(choices=offered),
        **kwargs,
    )


class SubjectForm(ServiceForm):
    """A form that names a tag or a device of the tenant by what people know of them."""

    def subject(self) -> dict[str, Any]:
        """
        Raises:
            InvalidRule: there is no such tag or device.
        """
        named, of = self.cleaned_data["tag_name"], self.cleaned_data["device_id"]
        tag = Tag.objects.filter(name=named).first() if named else None
        if named and tag is None:
            raise InvalidRule("There is no such tag.", field="tag_name")
        device = self._device(of.strip()) if of else None
        return {"tag": tag, "device": device}

    def _device(self, said: str) -> Device:
        try:
            found = Device.objects.living().filter(pk=UUID(said))
        except ValueError:
            found = Device.objects.living().filter(name=said)
        devices = list(found[:2])
        if len(devices) != 1:
            raise InvalidRule(
                "No device, or more than one, is called so; its id stands on its page.",
                field="device_id",
            )
        device: Device = devices[0]
        return device


class RuleForm(SubjectForm):
    """A rule, with times in minutes."""

    tenant = tenant_field()
    name = text("Name", required=True, length=120)
    kind = choice("Watches", MonitoringRule.Kind.choices)
    measure = choice(
        "Metric", CHOICES, required=False, help_text="Of a rule on a metric."
    )
    operator = choice("Is", MonitoringRule.Operator.choices, required=False)
    threshold = number(
        "Threshold",
        required=True,
        help_text="In the metric's unit, minutes of silence or drift, or days of validity left.",
    )
    clear_threshold = number(
        "Clears at", help_text="Empty: at the threshold. Between the two it stays."
    )
    lasting_minutes = minutes("For so many minutes", help_text="Empty: at once.")
    severity = choice("Severity", Severity.choices, initial=Severity.MEDIUM)
    escalation_threshold = number("Escalates at", help_text="Empty: it does not.")
    escalation_severity = choice("To severity", Severity.choices, required=False)
    scope = choice("About", MonitoringRule.Scope.choices)
    tag_name = text("Tag", help_text="If it is about devices with a tag.")
    device_id = text("Device", length=120, help_text="Its id or name, if about one.")
    cool_down_minutes = minutes(
        "Rests for so many minutes", help_text="After it has closed."
    )
    no_data = choice("No data", MonitoringRule.NoData.choices, required=False)
    weekdays = forms.TypedMultipleChoiceField(
        label="Opens alerts on",
        choices=WEEKDAYS,
        coerce=int,
        initial=EVERY_DAY,
        widget=UnfoldAdminCheckboxSelectMultipleWidget(),
    )
    opens_at = forms.TimeField(
        label="From",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "time"}),
    )
    closes_at = forms.TimeField(
        label="To",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "time"}),
    )
    time_zone = text("Time zone", required=True, initial="UTC")
    is_enabled = forms.BooleanField(
        label="Switched on",
        required=False,
        initial=True,
        widget=UnfoldBooleanSwitchWidget(),
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
            tag_name=rule.tag.name if rule.tag else "",
            device_id=str(rule.device_id or ""),
        )
        self.fields["kind"].disabled = True

    def act(self) -> MonitoringRule:
        said = dict(self.cleaned_data)
        said |= self.subject()
        del said["tag_name"], said["device_id"]
        for name in ("lasting", "cool_down"):
            minutes_said = said.pop(f"{name}_minutes") or 0
            if f"{name}_minutes" in self.changed_data:  # else the seconds stay
                said[f"{name}_seconds"] = 60 * minutes_said
        said["operator"] = said["operator"] or MonitoringRule.Operator.ABOVE.value
        said["no_data"] = said["no_data"] or MonitoringRule.NoData.KEEP.value
        now = timezone.now()
        if self.instance._state.adding:
            return rules.create(now=now, **said)
        del said["kind"]
        return rules.update(rule=self.instance, now=now, **said)


class OverrideForm(SubjectForm):
    """What is different for a tag or a device."""

    rule: Any = forms.ModelChoiceField(queryset=None, widget=UnfoldAdminSelectWidget())
    tag_name = text("Tag")
    device_id = text("Device", length=120, help_text="Its id or name; not with a tag.")
    threshold = number("Threshold", help_text="Empty: as the rule has it.")
    clear_threshold = number("Clears at", help_text="Empty: as the rule has it.")
    lasting_minutes = minutes("For so many minutes", help_text="Empty: as the rule.")
    severity = choice("Severity", Severity.choices, required=False)
    is_enabled = choice("Switched", (("true", "on"), ("false", "off")), required=False)

    class Meta:
        model = RuleOverride
        fields = ("rule",)

    def tenant_id(self) -> Any:
        return self.cleaned_data["rule"].tenant_id

    def act(self) -> RuleOverride:
        said = dict(self.cleaned_data)
        lasting = said["lasting_minutes"]
        enabled = {"true": True, "false": False}.get(said["is_enabled"])
        return rules.override(
            rule=said["rule"],
            subject=self.subject(),
            now=timezone.now(),
            threshold=said["threshold"],
            clear_threshold=said["clear_threshold"],
            lasting_seconds=None if lasting is None else 60 * lasting,
            severity=said["severity"] or None,
            is_enabled=enabled,
        )
