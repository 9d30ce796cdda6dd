"""The JSON of rules and alerts, in and out."""

from typing import Any, ClassVar

from rest_framework import serializers

from core.rest.fields import ClockTime, Text, Truth, WholeNumber
from core.rest.strict import Strict
from devices.metrics.measures import CHOICES
from devices.monitoring.models import Alert, AlertComment, MonitoringRule, RuleOverride
from devices.monitoring.services.back_testing import MAX_DAYS
from events.severity import Severity


class Number(serializers.FloatField):
    """A finite number of JSON; no text and no truth value."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=-1e12, max_value=1e12, **kwargs)

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return float(super().to_internal_value(data))


class Seconds(WholeNumber):
    """At most a year of them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=0, max_value=31_622_400, **kwargs)


class RuleFields(Strict):
    """What a rule says; see `MonitoringRule` for units."""

    name = Text(max_length=120)
    kind = serializers.ChoiceField(choices=MonitoringRule.Kind.choices)
    measure = serializers.ChoiceField(
        choices=CHOICES, required=False, help_text="Of a rule on a metric."
    )
    operator = serializers.ChoiceField(
        choices=MonitoringRule.Operator.choices, required=False
    )
    threshold = Number(
        help_text="In the measure's unit, minutes of silence or drift, or days of validity."
    )
    clear_threshold = Number(required=False, allow_null=True)
    lasting_seconds = Seconds(required=False)
    severity = serializers.ChoiceField(choices=Severity.choices, required=False)
    escalation_threshold = Number(required=False, allow_null=True)
    escalation_severity = serializers.ChoiceField(
        choices=Severity.choices, required=False, allow_blank=True
    )
    scope = serializers.ChoiceField(
        choices=MonitoringRule.Scope.choices, required=False
    )
    tag = Text(max_length=64, required=False, allow_null=True)
    device = serializers.UUIDField(required=False, allow_null=True)
    cool_down_seconds = Seconds(required=False)
    no_data = serializers.ChoiceField(
        choices=MonitoringRule.NoData.choices,
        required=False,
        help_text="What it means that no sample comes.",
    )
    weekdays = serializers.ListField(
        child=WholeNumber(min_value=1, max_value=7),
        min_length=1,
        max_length=7,
        required=False,
        help_text="On which alerts may be opened; 1 is Monday.",
    )
    opens_at = ClockTime(required=False, allow_null=True)
    closes_at = ClockTime(required=False, allow_null=True)
    time_zone = Text(max_length=64, required=False)
    is_enabled = Truth(required=False)


class RuleUpdateSerializer(RuleFields):
    """What is left out stays as it is."""

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        for name, field in fields.items():
            field.required = False
            if name == "kind":
                field.read_only = True
        fields.pop("kind")
        return fields


class OverrideFields(Strict):
    """What is different for a tag or a device; null is as the rule has it."""

    tag = Text(max_length=64, required=False)
    device = serializers.UUIDField(required=False)
    threshold = Number(required=False, allow_null=True)
    clear_threshold = Number(required=False, allow_null=True)
    lasting_seconds = Seconds(required=False, allow_null=True)
    severity = serializers.ChoiceField(
        choices=Severity.choices, required=False, allow_null=True
    )
    is_enabled = Truth(required=False, allow_null=True)


class OverrideSerializer(serializers.ModelSerializer[RuleOverride]):
    tag = serializers.CharField(source="tag.name", allow_null=True, default=None)
    device = serializers.UUIDField(source="device_id", allow_null=True)

    severity = serializers.CharField(help_text="Empty: as the rule has it.")

    class Meta:
        model = RuleOverride
        fields = (
            *("id", "tag", "device", "threshold", "clear_threshold"),
            *("lasting_seconds", "severity", "is_enabled"),
        )
        read_only_fields = fields


class RuleSerializer(serializers.ModelSerializer[MonitoringRule]):
    """A rule with what is different for tags and devices."""

    measure = serializers.CharField(help_text="Empty if it is not about a metric.")
    escalation_severity = serializers.CharField(
        help_text="Empty: it does not escalate."
    )
    tag = serializers.CharField(source="tag.name", allow_null=True, default=None)
    device = serializers.UUIDField(source="device_id", allow_null=True)
    opens_at = ClockTime(allow_null=True)
    closes_at = ClockTime(allow_null=True)
    overrides = OverrideSerializer(many=True)

    class Meta:
        model = MonitoringRule
        fields = (
            *("id", "name", "kind", "measure", "operator", "threshold"),
            *("clear_threshold", "lasting_seconds", "severity"),
            *("escalation_threshold", "escalation_severity", "scope", "tag", "device"),
            *("cool_down_seconds", "no_data", "weekdays", "opens_at", "closes_at"),
            *("time_zone", "is_enabled", "template", "created_at", "overrides"),
        )
        read_only_fields = fields


class BackTestRequestSerializer(Strict):
    days = WholeNumber(min_value=1, max_value=MAX_DAYS, required=False)


class FiredDaySerializer(serializers.Serializer[Any]):
    day = serializers.DateField()
    alerts = serializers.IntegerField()


class FiredDeviceSerializer(serializers.Serializer[Any]):
    device_id = serializers.UUIDField()
    name = serializers.CharField()
    alerts = serializers.IntegerField()
    first_at = serializers.DateTimeField()


class BackTestSerializer(serializers.Serializer[Any]):
    """How often the rule would have fired, and on which devices most."""

    days = serializers.IntegerField()
    alerts = serializers.IntegerField()
    devices = serializers.IntegerField()
    complete = serializers.BooleanField(
        help_text="False: so many devices come into question that it is at least this."
    )
    by_day = FiredDaySerializer(many=True)
    worst = FiredDeviceSerializer(many=True)


class CommentSerializer(serializers.ModelSerializer[AlertComment]):
    author = serializers.CharField(source="author_name")

    class Meta:
        model = AlertComment
        fields = ("author", "text", "at")
        read_only_fields = fields


class AlertSerializer(serializers.ModelSerializer[Alert]):
    """An alert as lists show it; `device_id` is null for an incident."""

    status = serializers.ChoiceField(choices=Alert.Status.choices)
    device_id = serializers.UUIDField(allow_null=True)
    rule_id = serializers.UUIDField(allow_null=True)
    acknowledged_by = serializers.CharField(
        source="acknowledged_by.email", allow_null=True, default=None
    )
    assignee = serializers.CharField(
        source="assignee.email", allow_null=True, default=None
    )

    closing = serializers.CharField(help_text="Why it is closed; empty until it is.")

    class Meta:
        model = Alert
        fields: ClassVar[Any] = (
            *("id", "kind", "status", "severity", "title", "device_id", "rule_id"),
            *("value", "since", "opened_at", "acknowledged_at", "acknowledged_by"),
            *("assignee", "closed_at", "closing", "devices"),
        )
        read_only_fields = fields


class AlertDetailSerializer(AlertSerializer):
    """An alert with what was said of it and, of an incident, its devices."""

    comments = CommentSerializer(many=True)
    members = serializers.SerializerMethodField(
        help_text="Of an incident, the first 500 devices that are still away."
    )

    class Meta(AlertSerializer.Meta):
        fields = (*AlertSerializer.Meta.fields, "comments", "members")
        read_only_fields = fields

    def get_members(self, alert: Alert) -> list[str]:
        away = alert.members.filter(returned_at__isnull=True)
        return [str(pk) for pk in away.values_list("device_id", flat=True)[:500]]


class AssignSerializer(Strict):
    assignee = serializers.EmailField(
        allow_null=True, help_text="A member's address; null: nobody."
    )


class CommentTextSerializer(Strict):
    text = Text(max_length=2000, pattern=r"[^\x00]*[^\s\x00][^\x00]*")


class EffectiveRuleSerializer(serializers.Serializer[Any]):
    """What of a rule holds for one device; `sources` says who says so."""

    rule_id = serializers.UUIDField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=MonitoringRule.Kind.choices)
    measure = serializers.CharField(allow_blank=True)
    operator = serializers.ChoiceField(choices=MonitoringRule.Operator.choices)
    threshold = serializers.FloatField()
    clear_threshold = serializers.FloatField(allow_null=True)
    lasting_seconds = serializers.IntegerField()
    severity = serializers.ChoiceField(choices=Severity.choices)
    is_enabled = serializers.BooleanField()
    sources = serializers.DictField(
        child=serializers.CharField(),
        help_text="`rule`, `tag …` or `device`, by field.",
    )


class DeviceMonitoringSerializer(serializers.Serializer[Any]):
    rules = EffectiveRuleSerializer(many=True)
    alerts = AlertSerializer(many=True, help_text="Those that are not closed.")


class RecentAlertSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    at = serializers.DateTimeField(source="opened_at")
    device_id = serializers.UUIDField(allow_null=True)
    severity = serializers.ChoiceField(choices=Severity.choices)
    status = serializers.ChoiceField(choices=Alert.Status.choices)
    title = serializers.CharField()


class OverviewSerializer(serializers.Serializer[Any]):
    """The fleet in figures; `active` means online."""

    total = serializers.IntegerField()
    active = serializers.IntegerField()
    offline = serializers.IntegerField()
    open_alerts = serializers.DictField(
        child=serializers.IntegerField(), help_text="By severity."
    )
    alerts_last_24h = serializers.IntegerField()
    alerts_last_24h_by_rule = serializers.DictField(child=serializers.IntegerField())
    recent_alerts = RecentAlertSerializer(many=True)
