"""Tables of monitoring rules, their overrides, and alerts."""

import uuid
from typing import Any, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Exists, OuterRef, Q

from devices.metrics.measures import CHOICES
from devices.registry.models import Device, Site, Tag
from events.severity import Severity
from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import TenantOwned, User

EVERY_DAY = [1, 2, 3, 4, 5, 6, 7]


def every_day() -> list[int]:
    """Return all ISO weekdays; 1 is Monday."""
    return list(EVERY_DAY)


class RuleQuerySet(models.QuerySet["MonitoringRule"]):
    """Filters of rules."""

    def enabled(self) -> Self:
        """Filter rules that are enabled, or that an override enables for some devices."""
        overrides = RuleOverride.every_tenant.filter(rule=OuterRef("pk"), is_enabled=True)
        return self.not_archived().filter(Q(is_enabled=True) | Q(Exists(overrides)))

    def not_archived(self) -> Self:
        return self.filter(archived_at__isnull=True)


class RuleManager(TenantManager.from_queryset(RuleQuerySet)):
    """Return the current tenant's rules, without the archived ones."""

    def get_queryset(self) -> RuleQuerySet:
        queryset: RuleQuerySet = super().get_queryset()
        return queryset.not_archived()


class MonitoringRule(TenantOwned):
    """A condition that opens alerts for the devices that meet it.

    A deleted rule is archived: it opens no more alerts, and its alerts keep their history.
    `objects` returns no archived rules.

    The unit of `threshold` depends on the kind of the rule. Metric rules use the unit of the
    measure. Rules on silence and drift use minutes. Rules on certificates use the days until
    the certificate expires.
    """

    class Kind(models.TextChoices):
        METRIC = "metric"
        SILENCE = "silence"
        CERTIFICATE = "certificate", "Certificate validity"
        DRIFT = "drift", "Configuration drift"

    class Operator(models.TextChoices):
        ABOVE = "gt", "above"
        AT_LEAST = "ge", "at least"
        BELOW = "lt", "below"
        AT_MOST = "le", "at most"

    class Scope(models.TextChoices):
        ALL = "all", "All devices"
        SITE = "site", "Devices at a site"
        TAG = "tag", "Devices with a tag"
        DEVICE = "device", "One device"

    class NoData(models.TextChoices):
        KEEP = "keep", "Keep the alert as it is"
        OPEN = "open", "Open an alert"
        CLOSE = "close", "Close the alert"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=12, choices=Kind.choices)
    measure = models.CharField(max_length=32, blank=True, choices=CHOICES)
    operator = models.CharField(max_length=2, choices=Operator.choices, default=Operator.ABOVE)
    threshold = models.FloatField()
    clear_threshold = models.FloatField(null=True, blank=True)
    lasting_seconds = models.PositiveIntegerField(default=0)
    severity = models.CharField(max_length=8, choices=Severity.choices, default=Severity.MEDIUM)
    escalation_threshold = models.FloatField(null=True, blank=True)
    escalation_severity = models.CharField(max_length=8, choices=Severity.choices, blank=True)
    scope = models.CharField(max_length=6, choices=Scope.choices, default=Scope.ALL)
    tag = models.ForeignKey(Tag, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    device = models.ForeignKey(
        Device, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    site = models.ForeignKey(
        Site, on_delete=models.RESTRICT, null=True, blank=True, related_name="+"
    )
    cool_down_seconds = models.PositiveIntegerField(default=0)
    no_data = models.CharField(max_length=5, choices=NoData.choices, default=NoData.KEEP)
    weekdays = ArrayField(models.SmallIntegerField(), default=every_day)
    opens_at = models.TimeField(null=True, blank=True)
    closes_at = models.TimeField(null=True, blank=True)
    time_zone = models.CharField(max_length=64, default="UTC")
    is_enabled = models.BooleanField(default=True)
    template = models.CharField(max_length=32, blank=True, editable=False)
    created_at = models.DateTimeField(editable=False)
    archived_at = models.DateTimeField(null=True, editable=False)

    objects = RuleManager()
    every_tenant = RuleQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        verbose_name = "rule"
        ordering = ("name", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "name"), condition=Q(archived_at__isnull=True), name="rule_once"
            ),
            models.UniqueConstraint(fields=("tenant", "id"), name="rule_with_its_tenant"),
            SameTenant("tag", name="rule_about_its_tenants_tag"),
            SameTenant("device", name="rule_about_its_tenants_device"),
            SameTenant("site", name="rule_about_its_tenants_site"),
            models.CheckConstraint(
                name="rule_scope_has_its_subject",
                condition=Q(scope="all", tag=None, device=None, site=None)
                | Q(scope="site", tag=None, device=None, site__isnull=False)
                | Q(scope="tag", tag__isnull=False, device=None, site=None)
                | Q(scope="device", tag=None, device__isnull=False, site=None)
                | Q(archived_at__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def threshold_is_minutes(self) -> bool:
        """Whether the threshold is a duration in minutes, as in rules on silence and drift."""
        return self.kind in (self.Kind.SILENCE, self.Kind.DRIFT)


class RuleOverride(TenantOwned):
    """Values of a rule that differ for one site, one tag or one device.

    If a value is null or empty, the value of the rule is used. The override of a device
    takes precedence over the overrides of its tags, and these over the overrides of its
    site and of the sites that it is in. If several tags of a device have overrides, the first
    tag by name takes precedence.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    rule = models.ForeignKey(MonitoringRule, on_delete=models.CASCADE, related_name="overrides")
    tag = models.ForeignKey(Tag, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    device = models.ForeignKey(
        Device, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    site = models.ForeignKey(
        Site, on_delete=models.RESTRICT, null=True, blank=True, related_name="+"
    )
    threshold = models.FloatField(null=True, blank=True)
    clear_threshold = models.FloatField(null=True, blank=True)
    lasting_seconds = models.PositiveIntegerField(null=True, blank=True)
    severity = models.CharField(max_length=8, choices=Severity.choices, blank=True)
    is_enabled = models.BooleanField(null=True, blank=True)

    class Meta(TenantOwned.Meta):
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(fields=("rule", "tag"), name="override_once_a_tag"),
            models.UniqueConstraint(fields=("rule", "device"), name="override_once_a_device"),
            models.UniqueConstraint(fields=("rule", "site"), name="override_once_a_site"),
            SameTenant("site", name="override_for_its_tenants_site"),
            SameTenant("rule", name="override_of_its_tenants_rule"),
            SameTenant("tag", name="override_for_its_tenants_tag"),
            SameTenant("device", name="override_for_its_tenants_device"),
            models.CheckConstraint(
                name="override_for_one_subject",
                condition=Q(tag=None, device__isnull=False, site=None)
                | Q(tag__isnull=False, device=None, site=None)
                | Q(tag=None, device=None, site__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return f"{self.rule} for {self.site or self.tag or self.device}"


class AlertQuerySet(models.QuerySet["Alert"]):
    """Filters of alerts."""

    def open(self) -> Self:
        return self.filter(closed_at__isnull=True)

    def unsettled(self) -> Self:
        """Filter alerts that are not settled, including those that a member has closed."""
        return self.filter(settled_at__isnull=True)

    def incidents(self) -> Self:
        return self.filter(kind=Alert.Kind.FLEET_SILENCE)

    def raised_since(self, moment: Any) -> Self:
        """Filter alerts that were opened or reopened at or after a time or an expression."""
        return self.filter(Q(opened_at__gte=moment) | Q(reopened_at__gte=moment))


class Alert(TenantOwned):
    """An alert of a rule for a device, or an incident of many silent devices.

    An alert is settled when its cause has gone, or when the device is no longer monitored.
    `settled_at` is then set. A rule has at most one unsettled alert for a device. A tenant
    has at most one unsettled incident. If the cause returns soon, the alert is reopened.
    """

    class Kind(models.TextChoices):
        METRIC = "metric"
        SILENCE = "silence"
        CERTIFICATE = "certificate"
        DRIFT = "drift", "Configuration drift"
        FLEET_SILENCE = "fleet_silence", "fleet silence"

    class Status(models.TextChoices):
        """Whether the alert was acknowledged or closed."""

        OPEN = "open"
        ACKNOWLEDGED = "acknowledged"
        CLOSED = "closed"

    class Closing(models.TextChoices):
        """Why an alert was closed."""

        CAUSE_GONE = "cause_gone", "Cause gone"
        BY_HAND = "by_hand", "Closed by a member"
        NOT_WATCHED = "not_watched", "No longer monitored"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=13, choices=Kind.choices)
    rule = models.ForeignKey(
        MonitoringRule, on_delete=models.RESTRICT, null=True, related_name="alerts"
    )
    device = models.ForeignKey(Device, on_delete=models.CASCADE, null=True, related_name="alerts")
    severity = models.CharField(max_length=8, choices=Severity.choices)
    title = models.CharField(max_length=200)
    value = models.FloatField(null=True)  # when opened or last escalated
    since = models.DateTimeField()  # start of the cause, as far as known
    opened_at = models.DateTimeField()
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    assignee = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    closed_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )
    closed_at = models.DateTimeField(null=True)
    closing = models.CharField(max_length=11, choices=Closing.choices, blank=True)
    settled_at = models.DateTimeField(null=True)
    devices = models.PositiveIntegerField(default=1)
    # How often it was open. A positive field would have a check, which scans the table.
    occurrences = models.IntegerField(default=1, db_default=1)
    reopened_at = models.DateTimeField(null=True)  # last time

    objects = TenantManager.from_queryset(AlertQuerySet)()
    every_tenant = AlertQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        ordering = ("-opened_at", "-id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "id"), name="alert_with_its_tenant"),
            models.UniqueConstraint(
                fields=("rule", "device"),
                condition=Q(settled_at__isnull=True),
                name="alert_once_while_its_cause_lasts",
            ),
            models.UniqueConstraint(
                fields=("tenant",),
                condition=Q(kind="fleet_silence", settled_at__isnull=True),
                name="one_incident_at_a_time",
            ),
            SameTenant("rule", name="alert_of_its_tenants_rule"),
            SameTenant("device", name="alert_of_its_tenants_device"),
        )
        indexes = (
            models.Index(fields=("tenant", "-opened_at", "-id"), name="alert_list_newest"),
            models.Index(
                fields=("tenant", "severity", "-opened_at"),
                condition=Q(closed_at__isnull=True),
                name="alert_open",
            ),
            models.Index(fields=("device", "-opened_at"), name="alert_of_device_newest"),
            models.Index(
                fields=("tenant", "kind"),
                condition=Q(settled_at__isnull=True),
                name="alert_unsettled",
            ),
        )

    def __str__(self) -> str:
        return self.title

    @property
    def status(self) -> str:
        if self.closed_at is not None:
            return Alert.Status.CLOSED.value
        is_new = self.acknowledged_at is None
        return (Alert.Status.OPEN if is_new else Alert.Status.ACKNOWLEDGED).value


class AlertComment(TenantOwned):
    """A member's comment on an alert."""

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="comments")
    author_name = models.CharField(max_length=254)
    text = models.CharField(max_length=2000)
    at = models.DateTimeField()

    class Meta(TenantOwned.Meta):
        ordering = ("at", "id")
        constraints = (SameTenant("alert", name="comment_on_its_tenants_alert"),)

    def __str__(self) -> str:
        return f"{self.author_name} at {self.at:%Y-%m-%d %H:%M}"


class IncidentDevice(TenantOwned):
    """A device of an incident. `returned_at` is set when the device is seen again."""

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="members")
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="+")
    silent_since = models.DateTimeField()
    returned_at = models.DateTimeField(null=True)

    class Meta(TenantOwned.Meta):
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(fields=("alert", "device"), name="incident_has_a_device_once"),
            SameTenant("alert", name="incident_of_its_tenant"),
            SameTenant("device", name="incident_with_its_tenants_device"),
        )

    def __str__(self) -> str:
        return f"{self.device_id} in {self.alert_id}"


class FormEvaluation(models.Model):
    """When the rules with the same form were last evaluated, for all tenants together.

    The form is what the statements of a rule depend on, see `rule_statements.RuleForm`.
    """

    form = models.CharField(max_length=120, primary_key=True)
    started_at = models.DateTimeField(null=True)  # of the evaluation that runs now
    succeeded_at = models.DateTimeField()  # begin of the last one that succeeded
    late_reported_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("form",)

    def __str__(self) -> str:
        return self.form
