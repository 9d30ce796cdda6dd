"""Serializers of rules, overrides, back-tests, alerts and the overview."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from core.rest.fields import LocalTimeField, StrictBooleanField, StrictCharField, StrictIntegerField
from core.rest.strict import StrictSerializer
from devices.metrics.measures import CHOICES
from devices.monitoring.models import Alert, AlertComment, MonitoringRule, RuleOverride
from devices.monitoring.services.back_testing import MAX_DAYS
from devices.registry.api.serializers import site_field
from events.severity import Severity


class Number(serializers.FloatField):
    """A finite JSON number; strings and booleans are refused."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=-1e12, max_value=1e12, **kwargs)

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return float(super().to_internal_value(data))


class Seconds(StrictIntegerField):
    """A whole number of seconds, at most one year."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=0, max_value=31_622_400, **kwargs)


class RuleFields(StrictSerializer):
    """The fields of a rule."""

    name = StrictCharField(max_length=120)
    kind = serializers.ChoiceField(choices=MonitoringRule.Kind.choices)
    measure = serializers.ChoiceField(
        choices=CHOICES, required=False, help_text="Required for rules on a metric."
    )
    operator = serializers.ChoiceField(choices=MonitoringRule.Operator.choices, required=False)
    threshold = Number(
        help_text=(
            "The unit depends on the kind: the unit of the measure, minutes of silence or"
            " drift, or days until the certificate expires."
        )
    )
    clear_threshold = Number(required=False, allow_null=True)
    lasting_seconds = Seconds(required=False)
    severity = serializers.ChoiceField(choices=Severity.choices, required=False)
    escalation_threshold = Number(required=False, allow_null=True)
    escalation_severity = serializers.ChoiceField(
        choices=Severity.choices, required=False, allow_blank=True
    )
    scope = serializers.ChoiceField(choices=MonitoringRule.Scope.choices, required=False)
    tag = StrictCharField(max_length=64, required=False, allow_null=True)
    device = serializers.UUIDField(required=False, allow_null=True)
    site = site_field()
    cool_down_seconds = Seconds(required=False)
    no_data = serializers.ChoiceField(
        choices=MonitoringRule.NoData.choices,
        required=False,
        help_text="What happens when a device does not send the measure.",
    )
    weekdays = serializers.ListField(
        child=StrictIntegerField(min_value=1, max_value=7),
        min_length=1,
        max_length=7,
        required=False,
        help_text="Weekdays on which alerts may be opened; 1 is Monday.",
    )
    opens_at = LocalTimeField(required=False, allow_null=True)
    closes_at = LocalTimeField(required=False, allow_null=True)
    time_zone = StrictCharField(max_length=64, required=False)
    is_enabled = StrictBooleanField(required=False)


class RuleUpdateSerializer(RuleFields):
    """The fields of a rule to change. Omitted fields keep their values."""

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        for field in fields.values():
            field.required = False
        fields.pop("kind")
        return fields


class OverrideFields(StrictSerializer):
    """An override of a rule for a site, a tag or a device.

    For a null field, the rule's value is used.
    """

    tag = StrictCharField(max_length=64, required=False)
    device = serializers.UUIDField(required=False)
    site = site_field()
    threshold = Number(required=False, allow_null=True)
    clear_threshold = Number(required=False, allow_null=True)
    lasting_seconds = Seconds(required=False, allow_null=True)
    severity = serializers.ChoiceField(choices=Severity.choices, required=False, allow_null=True)
    is_enabled = StrictBooleanField(required=False, allow_null=True)


@extend_schema_serializer(component_name="RuleOverride")
class OverrideSerializer(serializers.ModelSerializer[RuleOverride]):
    tag = serializers.CharField(source="tag.name", allow_null=True, default=None)
    device = serializers.UUIDField(source="device_id", allow_null=True)
    site = serializers.UUIDField(source="site_id", allow_null=True)
    severity = serializers.CharField(help_text="If empty, the severity of the rule is used.")

    class Meta:
        model = RuleOverride
        fields = (
            "id",
            "tag",
            "device",
            "site",
            "threshold",
            "clear_threshold",
            "lasting_seconds",
            "severity",
            "is_enabled",
        )
        read_only_fields = fields


class RuleSerializer(serializers.ModelSerializer[MonitoringRule]):
    """A rule with its overrides."""

    measure = serializers.CharField(help_text="Empty if the rule is not on a metric.")
    escalation_severity = serializers.CharField(help_text="If empty, the severity is not raised.")
    tag = serializers.CharField(source="tag.name", allow_null=True, default=None)
    device = serializers.UUIDField(source="device_id", allow_null=True)
    site = serializers.UUIDField(source="site_id", allow_null=True)
    opens_at = LocalTimeField(allow_null=True)
    closes_at = LocalTimeField(allow_null=True)
    overrides = OverrideSerializer(many=True)

    class Meta:
        model = MonitoringRule
        fields = (
            "id",
            "name",
            "kind",
            "measure",
            "operator",
            "threshold",
            "clear_threshold",
            "lasting_seconds",
            "severity",
            "escalation_threshold",
            "escalation_severity",
            "scope",
            "tag",
            "device",
            "site",
            "cool_down_seconds",
            "no_data",
            "weekdays",
            "opens_at",
            "closes_at",
            "time_zone",
            "is_enabled",
            "template",
            "created_at",
            "overrides",
        )
        read_only_fields = fields


class BackTestParametersSerializer(StrictSerializer):
    days = StrictIntegerField(min_value=1, max_value=MAX_DAYS, required=False)


class FiredDaySerializer(serializers.Serializer[Any]):
    day = serializers.DateField()
    alerts = serializers.IntegerField()


class FiredDeviceSerializer(serializers.Serializer[Any]):
    device_id = serializers.UUIDField()
    name = serializers.CharField()
    alerts = serializers.IntegerField()
    first_at = serializers.DateTimeField()


class BackTestSerializer(serializers.Serializer[Any]):
    """The alerts that a rule would have opened, by day and for the most affected devices."""

    days = serializers.IntegerField()
    alerts = serializers.IntegerField()
    devices = serializers.IntegerField()
    complete = serializers.BooleanField(
        help_text="If false, not all data was evaluated, and the numbers are a lower bound."
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
    """An alert; `device_id` is null for an incident of many devices."""

    status = serializers.ChoiceField(choices=Alert.Status.choices)
    device_id = serializers.UUIDField(allow_null=True)
    rule_id = serializers.UUIDField(allow_null=True)
    acknowledged_by = serializers.CharField(
        source="acknowledged_by.email", allow_null=True, default=None
    )
    assignee = serializers.CharField(source="assignee.email", allow_null=True, default=None)
    closed_by = serializers.CharField(
        source="closed_by.email",
        allow_null=True,
        default=None,
        help_text="The member who closed the alert; null if its cause has gone.",
    )
    closing = serializers.CharField(help_text="Reason for closing. Empty while the alert is open.")
    occurrences = serializers.IntegerField(
        help_text="How often the alert was open. If its cause returns soon, it is reopened."
    )
    reopened_at = serializers.DateTimeField(
        allow_null=True, help_text="When the cause of the closed alert returned the last time."
    )

    class Meta:
        model = Alert
        fields: ClassVar[Any] = (
            "id",
            "kind",
            "status",
            "severity",
            "title",
            "device_id",
            "rule_id",
            "value",
            "since",
            "opened_at",
            "acknowledged_at",
            "acknowledged_by",
            "assignee",
            "closed_by",
            "closed_at",
            "closing",
            "devices",
            "occurrences",
            "reopened_at",
        )
        read_only_fields = fields


class AlertDetailSerializer(AlertSerializer):
    """An alert with its comments and, for an incident, its devices."""

    comments = CommentSerializer(many=True)
    members = serializers.SerializerMethodField(
        help_text="IDs of the silent devices of an incident, at most 500."
    )

    class Meta(AlertSerializer.Meta):
        fields = (*AlertSerializer.Meta.fields, "comments", "members")
        read_only_fields = fields

    def get_members(self, alert: Alert) -> list[str]:
        silent = alert.members.filter(returned_at__isnull=True)
        return [str(pk) for pk in silent.values_list("device_id", flat=True)[:500]]


class AssignSerializer(StrictSerializer):
    assignee = serializers.EmailField(
        allow_null=True, help_text="The email address of a member; null removes the assignee."
    )


class CommentTextSerializer(StrictSerializer):
    text = StrictCharField(max_length=2000, pattern=r"[^\x00]*[^\s\x00][^\x00]*")


class EffectiveRuleSerializer(serializers.Serializer[Any]):
    """A rule as it applies to one device, with the source of each value."""

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
        help_text="Source of each field: `rule`, `device`, or `tag` or `site` followed by a name.",
    )


class DeviceMonitoringSerializer(serializers.Serializer[Any]):
    rules = EffectiveRuleSerializer(many=True)
    alerts = AlertSerializer(many=True, help_text="The alerts that are not closed.")


class RecentAlertSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    at = serializers.DateTimeField(source="opened_at")
    device_id = serializers.UUIDField(allow_null=True)
    severity = serializers.ChoiceField(choices=Severity.choices)
    status = serializers.ChoiceField(choices=Alert.Status.choices)
    title = serializers.CharField()


class OverviewSerializer(serializers.Serializer[Any]):
    """The numbers of devices and alerts. `active` is the number of online devices."""

    total = serializers.IntegerField()
    active = serializers.IntegerField()
    offline = serializers.IntegerField()
    open_alerts = serializers.DictField(
        child=serializers.IntegerField(), help_text="Number of open alerts by severity."
    )
    alerts_last_24h = serializers.IntegerField()
    alerts_last_24h_by_rule = serializers.DictField(child=serializers.IntegerField())
    recent_alerts = RecentAlertSerializer(many=True)
