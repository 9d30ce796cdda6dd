"""Query which devices violate a rule, and which alerts no longer have a cause.

The number of database queries does not depend on the number of devices.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import (
    DateTimeField,
    DurationField,
    Exists,
    ExpressionWrapper,
    F,
    FloatField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce

from certificates.models import DeviceCertificate
from devices.metrics.models import DeviceMetrics, LatestMetrics
from devices.monitoring.conditions import LOOKUP, NEGATED
from devices.monitoring.extension_points import configuration_drifts
from devices.monitoring.models import Alert, AlertQuerySet, MonitoringRule
from devices.monitoring.services.override_expressions import OverrideExpressions
from devices.registry.models import Device
from devices.registry.services.sites import ids_below
from events.severity import Severity

Kind = MonitoringRule.Kind
MISSED_SAMPLES = 3  # missed samples after which a device has no data


@dataclass(frozen=True, slots=True)
class Violation:
    """A device that violates a rule; `value` is None if the device has no data."""

    device_id: UUID
    value: float | None
    since: datetime
    severity: str


def in_scope(rule: MonitoringRule) -> QuerySet[Device]:
    """Return the current tenant's unretired devices in the scope of a rule."""
    devices = Device.objects.not_retired()
    if rule.scope == MonitoringRule.Scope.TAG:
        return devices.filter(device_tags__tag=rule.tag_id)
    if rule.scope == MonitoringRule.Scope.SITE:
        assert rule.site_id is not None
        return devices.filter(site__in=ids_below(rule.site_id))
    if rule.scope == MonitoringRule.Scope.DEVICE:
        assert rule.device_id is not None
        return devices.filter(pk=rule.device_id)
    return devices


def max_sample_age() -> timedelta:
    """Return the maximum age of a device's newest sample. An older sample counts as no data."""
    return timedelta(seconds=MISSED_SAMPLES * settings.METRICS_INTERVAL_SECONDS)


class RuleQueries:
    """The queries that evaluate a rule for the current tenant at one moment.

    Args:
        device_ids: the devices for which the rule is evaluated; None for all devices.
    """

    def __init__(
        self, rule: MonitoringRule, *, now: datetime, device_ids: Collection[UUID] | None = None
    ) -> None:
        self.rule, self.now, self.device_ids = rule, now, device_ids
        self.overrides = OverrideExpressions(rule)

    def to_open(self) -> list[Violation]:
        """Return devices that have violated the rule for its duration and have no alert."""
        rows = self._violating(self.overrides.value("threshold", FloatField()))
        if self.rule.kind == Kind.METRIC:
            rows = self._violating_for_duration(rows)
        return [
            Violation(device_id, *self._value_and_since(observed), severity)
            for device_id, observed, severity in self._without_alert(rows)
        ]

    def to_open_without_data(self) -> list[Violation]:
        """Return devices without recent data, if the rule alerts on missing data."""
        if self.rule.no_data != MonitoringRule.NoData.OPEN:
            return []
        rows = self._without_alert(self._without_data())
        return [
            Violation(device_id, None, last_seen or self.now, severity)
            for device_id, last_seen, severity in rows
        ]

    def to_settle(self) -> AlertQuerySet:
        """Return alerts whose cause is gone."""
        bound = self.overrides.value("threshold", FloatField())
        if self.rule.clear_threshold is not None or self.overrides.has_overrides:
            bound = Coalesce(self.overrides.value("clear_threshold", FloatField()), bound)
        cleared = self._not_violating(bound)
        if self.overrides.has_overrides:
            # The threshold and the clear threshold may come from different overrides
            # that contradict each other. A value that violates the threshold must not
            # close the alert, because a new alert would open immediately.
            lookup = self._lookup(NEGATED[self.rule.operator], "gt")
            limit = self._limit(self.overrides.value("threshold", FloatField()))
            cleared = cleared.filter(**{f"observed__{lookup}": limit})
        is_gone = Q(device__in=cleared.values("subject_id"))
        if self.rule.kind == Kind.CERTIFICATE:
            without_certificate = self._rows().filter(observed__isnull=True)
            is_gone |= Q(device__in=without_certificate.values("subject_id"))
        if self.rule.kind == Kind.DRIFT:
            is_gone |= ~Q(device__in=self._rows().values("subject_id"))
        if self.rule.no_data == MonitoringRule.NoData.CLOSE:
            is_gone |= Q(device__in=self._without_data().values("subject_id"))
        return self._alerts().filter(is_gone)

    def to_escalate(self) -> list[tuple[Alert, float]]:
        """Return open alerts beyond the escalation threshold, with their new values."""
        if self.rule.escalation_threshold is None:
            return []
        rows = self._violating(Value(self.rule.escalation_threshold))
        lower_severities = [
            severity
            for severity in Severity.values
            if Severity(self.rule.escalation_severity).exceeds(severity)
        ]
        alerts = self._alerts().open().filter(severity__in=lower_severities)
        by_device = {alert.device_id: alert for alert in alerts}
        if not by_device:
            return []
        escalating = [
            (by_device[device_id], self._value_and_since(observed)[0])
            for device_id, observed in rows.filter(subject_id__in=by_device).values_list(
                "subject_id", "observed"
            )
        ]
        return [(alert, value) for alert, value in escalating if value is not None]

    def not_watched(self) -> AlertQuerySet:
        """Return alerts of devices to which the rule does not apply any more."""
        devices = self._devices()
        if self.overrides.has_overrides:
            devices = devices.filter(self.overrides.is_enabled(device="pk"))
        return self._alerts().exclude(device__in=devices.values("pk"))

    def _alerts(self) -> AlertQuerySet:
        alerts = Alert.objects.unsettled().filter(rule=self.rule)
        if self.device_ids is not None:
            alerts = alerts.filter(device__in=self.device_ids)
        return alerts

    def _devices(self) -> QuerySet[Device]:
        devices = in_scope(self.rule).filter(quarantined_at__isnull=True)
        if self.device_ids is not None:
            devices = devices.filter(pk__in=self.device_ids)
        return devices

    def _rows(self) -> QuerySet[Any]:
        """Return one row for each device, annotated with `subject_id` and `observed`.

        `subject_id` is the device's id. `observed` is the metric value or the time that is
        compared with the threshold.
        """
        match self.rule.kind:
            case Kind.METRIC:
                fresh = LatestMetrics.objects.filter(recorded_at__gt=self.now - max_sample_age())
                is_whole_fleet = self.rule.scope == MonitoringRule.Scope.ALL
                if is_whole_fleet and self.device_ids is None:
                    fresh = fresh.filter(device__quarantined_at__isnull=True).exclude(
                        device__status=Device.Status.RETIRED
                    )
                else:
                    fresh = fresh.filter(device__in=self._devices().values("pk"))
                return fresh.annotate(subject_id=F("device_id"), observed=F(self.rule.measure))
            case Kind.SILENCE:
                return self._devices().annotate(subject_id=F("pk"), observed=F("last_seen"))
            case Kind.DRIFT:
                (drifts,) = configuration_drifts
                drifted = drifts().filter(device__in=self._devices().values("pk"))
                rows: QuerySet[Any] = drifted.annotate(
                    subject_id=F("device_id"), observed=F("since")
                )
                return rows
            case _:
                newest = (
                    DeviceCertificate.objects.filter(
                        device=OuterRef("pk"), status__in=("active", "expired")
                    )
                    .order_by("-not_after")
                    .values("not_after")[:1]
                )
                return self._devices().annotate(subject_id=F("pk"), observed=Subquery(newest))

    def _violating(self, bound: Combinable) -> QuerySet[Any]:
        lookup = self._lookup(self.rule.operator, "lte")
        return self._rows().filter(**{f"observed__{lookup}": self._limit(bound)})

    def _not_violating(self, bound: Combinable) -> QuerySet[Any]:
        lookup = self._lookup(NEGATED[self.rule.operator], "gt")
        return self._rows().filter(**{f"observed__{lookup}": self._limit(bound)})

    def _lookup(self, operator: str, for_minutes: str) -> str:
        """Return Django's lookup for an operator.

        Rules on silence and drift use the lookup `for_minutes`. For these
        rules, the start time of a state is compared instead of its minutes. A state that has
        lasted longer began earlier, so the comparison is reversed.
        """
        return for_minutes if self.rule.threshold_is_minutes else LOOKUP[operator]

    def _limit(self, bound: Combinable) -> Any:
        """Convert a threshold to the type of `observed`: a number or a time."""
        if self.rule.kind == Kind.METRIC:
            return bound
        is_minutes = self.rule.threshold_is_minutes
        unit = timedelta(minutes=-1) if is_minutes else timedelta(days=1)
        span = ExpressionWrapper(bound * Value(unit), output_field=DurationField())
        return ExpressionWrapper(Value(self.now) + span, output_field=DateTimeField())

    def _violating_for_duration(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Filter devices whose samples have violated the rule for its whole duration.

        The newest sample before the start of the duration and all later samples must
        violate the rule.
        """
        if not self.rule.lasting_seconds and not self.overrides.has_overrides:
            return rows
        seconds = self.overrides.value("lasting_seconds", FloatField())
        duration = ExpressionWrapper(
            seconds * Value(timedelta(seconds=1)), output_field=DurationField()
        )
        rows = rows.annotate(
            bound=self.overrides.value("threshold", FloatField()), duration=duration
        )
        measure = self.rule.measure
        samples = DeviceMetrics.objects.filter(
            device_id=OuterRef("device_id"),
            recorded_at__gt=OuterRef("recorded_at") - OuterRef("duration") - max_sample_age(),
            **{f"{measure}__isnull": False},
        )
        start = OuterRef("recorded_at") - OuterRef("duration")
        before = samples.filter(recorded_at__lte=start).order_by("-recorded_at")
        not_violating = samples.filter(
            recorded_at__gt=start,
            recorded_at__lte=OuterRef("recorded_at"),
            **{f"{measure}__{LOOKUP[NEGATED[self.rule.operator]]}": OuterRef("bound")},
        )
        rows = rows.annotate(before=Subquery(before.values(measure)[:1]))
        return rows.filter(
            ~Exists(not_violating), **{f"before__{LOOKUP[self.rule.operator]}": F("bound")}
        )

    def _without_data(self) -> QuerySet[Any]:
        """Return devices without a recent value of the measure, except new devices."""
        since = self.now - max_sample_age()
        is_old = Q(metrics__recorded_at__lte=since) | Q(metrics__isnull=True)
        has_no_data = is_old | Q(**{f"metrics__{self.rule.measure}__isnull": True})
        devices = self._devices().filter(has_no_data, registered_at__lte=since)
        return devices.annotate(subject_id=F("pk"), observed=F("last_seen"))

    def _without_alert(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Filter devices for which an alert may be opened.

        Return tuples of device id, observed value and severity.
        """
        cool_down_start = self.now - timedelta(seconds=self.rule.cool_down_seconds)
        # An alert whose cause was gone is reopened, so it does not block.
        is_cooling_down = Q(closed_at__gt=cool_down_start) & ~Q(closing=Alert.Closing.CAUSE_GONE)
        blocking_alert = Alert.objects.filter(
            Q(settled_at__isnull=True) | is_cooling_down,
            rule=self.rule,
            device=OuterRef("subject_id"),
        )
        incident = (
            Alert.objects.open()
            .incidents()
            .filter(members__device=OuterRef("subject_id"), members__returned_at__isnull=True)
        )
        rows = rows.filter(~Exists(blocking_alert))
        if rows.model is Device:
            # An incident replaces alerts on silence and missing data. The rows of
            # certificate rules are devices too, so an incident also suppresses their alerts.
            rows = rows.filter(~Exists(incident))
        if self.overrides.has_overrides:
            rows = rows.filter(self.overrides.is_enabled(device="subject_id"))
        rows = rows.annotate(alert_severity=self.overrides.value("severity", None))
        return rows.values_list("subject_id", "observed", "alert_severity")

    def _value_and_since(self, observed: Any) -> tuple[float | None, datetime]:
        """Return the value in the rule's unit, and the time at which the violation began."""
        match self.rule.kind:
            case Kind.METRIC:
                duration = timedelta(seconds=self.rule.lasting_seconds)
                return observed, self.now - duration
            case Kind.SILENCE | Kind.DRIFT:
                return (self.now - observed) / timedelta(minutes=1), observed
            case _:
                return (observed - self.now) / timedelta(days=1), self.now
