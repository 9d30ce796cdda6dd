"""Which devices a rule is about, and which of them give reason for an alert.

One query for each question, whatever the number of devices.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import (
    BooleanField,
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
from django.db.models.functions import Coalesce, NullIf
from django.db.models.lookups import Exact

from certificates.models import DeviceCertificate
from devices.metrics.models import DeviceMetrics, LatestMetrics
from devices.monitoring.conditions import LOOKUP, OPPOSITE
from devices.monitoring.extension_points import configuration_drifts
from devices.monitoring.models import Alert, MonitoringRule, RuleOverride
from devices.registry.models import Device
from events.severity import Severity

Kind = MonitoringRule.Kind
MISSED = 3  # samples that did not come, after which there is no data


@dataclass(frozen=True, slots=True)
class Found:
    """A device that gives reason for an alert; `value` None: it has no data."""

    device_id: UUID
    value: float | None
    since: datetime
    severity: str


def in_scope(rule: MonitoringRule) -> QuerySet[Device]:
    """The current tenant's living devices that a rule is about."""
    devices: QuerySet[Device] = Device.objects.living()
    if rule.scope == MonitoringRule.Scope.TAG:
        return devices.filter(device_tags__tag=rule.tag_id)
    if rule.scope == MonitoringRule.Scope.DEVICE:
        return devices.filter(pk=rule.device_id)  # type: ignore[misc] # it has one
    return devices


def no_data_after() -> timedelta:
    """How old the newest sample may be."""
    return timedelta(seconds=MISSED * settings.METRICS_INTERVAL_SECONDS)


class Watch:
    """A rule's questions about the current tenant's devices, at one moment."""

    def __init__(
        self,
        rule: MonitoringRule,
        *,
        now: datetime,
        device_ids: Collection[UUID] | None = None,
    ) -> None:
        self.rule, self.now, self.device_ids = rule, now, device_ids
        self.overridden = rule.overrides.exists()

    def to_open(self) -> list[Found]:
        """Those that violate it for long enough, and have no alert of it."""
        found = self._violating(self._own("threshold", FloatField()))
        if self.rule.kind == Kind.METRIC:
            found = self._lasting(found)
        return [
            Found(device_id, *self._reason(seen), severity)
            for device_id, seen, severity in self._without_alert(found)
        ]

    def to_open_without_data(self) -> list[Found]:
        """Those that say nothing any more, where the rule takes that for a reason."""
        if self.rule.no_data != MonitoringRule.NoData.OPEN:
            return []
        silent = self._without_alert(self._without_data())
        return [
            Found(device_id, None, last_seen or self.now, severity)
            for device_id, last_seen, severity in silent
        ]

    def to_settle(self) -> QuerySet[Alert]:
        """Alerts of which the cause is gone."""
        bound = self._own("threshold", FloatField())
        if self.rule.clear_threshold is not None or self.overridden:
            bound = Coalesce(self._own("clear_threshold", FloatField()), bound)
        cleared = self._cleared(bound)
        if self.overridden:  # two overrides may say what does not go together
            lookup = self._lookup(OPPOSITE[self.rule.operator], "gt")
            limit = self._limit(self._own("threshold", FloatField()))
            cleared = cleared.filter(**{f"seen__{lookup}": limit})
        gone = Q(device__in=cleared.values("watched"))
        if self.rule.kind == Kind.CERTIFICATE:
            without = self._rows().filter(seen__isnull=True)
            gone |= Q(device__in=without.values("watched"))
        if self.rule.kind == Kind.DRIFT:
            gone |= ~Q(device__in=self._rows().values("watched"))
        if self.rule.no_data == MonitoringRule.NoData.CLOSE:
            gone |= Q(device__in=self._without_data().values("watched"))
        return self._alerts().filter(gone)

    def to_escalate(self) -> list[tuple[Alert, float]]:
        """Alerts of which the value is beyond the second threshold now."""
        if self.rule.escalation_threshold is None:
            return []
        worse = self._violating(Value(self.rule.escalation_threshold))
        milder = [
            severity
            for severity in Severity.values
            if Severity(self.rule.escalation_severity).exceeds(severity)
        ]
        alerts = self._alerts().open().filter(severity__in=milder)  # type: ignore[attr-defined] # ours
        by_device = {alert.device_id: alert for alert in alerts}
        if not by_device:
            return []
        rows = worse.filter(watched__in=by_device).values_list("watched", "seen")
        escalating = [(by_device[pk], self._reason(seen)[0]) for pk, seen in rows]
        return [(alert, value) for alert, value in escalating if value is not None]

    def not_watched(self) -> QuerySet[Alert]:
        """Alerts of devices that the rule is not about any more."""
        watched = self._devices()
        if self.overridden:
            watched = watched.filter(self._is_enabled(device="pk"))
        return self._alerts().exclude(device__in=watched.values("pk"))

    def _alerts(self) -> QuerySet[Alert]:
        alerts = Alert.objects.unsettled().filter(rule=self.rule)
        if self.device_ids is not None:
            alerts = alerts.filter(device__in=self.device_ids)
        narrowed: QuerySet[Alert] = alerts
        return narrowed

    def _devices(self) -> QuerySet[Device]:
        devices = in_scope(self.rule).filter(quarantined_at__isnull=True)
        if self.device_ids is not None:
            devices = devices.filter(pk__in=self.device_ids)
        return devices

    def _rows(self) -> QuerySet[Any]:
        """What is looked at: `watched` is the device, `seen` what is judged of it."""
        match self.rule.kind:
            case Kind.METRIC:
                fresh = LatestMetrics.objects.filter(
                    recorded_at__gt=self.now - no_data_after()
                )
                everybody = self.rule.scope == MonitoringRule.Scope.ALL
                if everybody and self.device_ids is None:
                    fresh = fresh.filter(device__quarantined_at__isnull=True).exclude(
                        device__status=Device.Status.RETIRED
                    )
                else:
                    fresh = fresh.filter(device__in=self._devices().values("pk"))
                return fresh.annotate(watched=F("device_id"), seen=F(self.rule.measure))
            case Kind.SILENCE:
                return self._devices().annotate(watched=F("pk"), seen=F("last_seen"))
            case Kind.DRIFT:
                among = self._devices().values("pk")
                (drifts,) = configuration_drifts
                rows = drifts().filter(device__in=among)
                watched: QuerySet[Any] = rows.annotate(
                    watched=F("device_id"), seen=F("since")
                )
                return watched
            case _:
                newest = (
                    DeviceCertificate.objects.filter(
                        device=OuterRef("pk"), status__in=("active", "expired")
                    )
                    .order_by("-not_after")
                    .values("not_after")[:1]
                )
                return self._devices().annotate(watched=F("pk"), seen=Subquery(newest))

    def _violating(self, bound: Combinable) -> QuerySet[Any]:
        lookup = self._lookup(self.rule.operator, "lte")
        return self._rows().filter(**{f"seen__{lookup}": self._limit(bound)})

    def _cleared(self, bound: Combinable) -> QuerySet[Any]:
        lookup = self._lookup(OPPOSITE[self.rule.operator], "gt")
        return self._rows().filter(**{f"seen__{lookup}": self._limit(bound)})

    def _lookup(self, operator: str, of_silence: str) -> str:
        """Django's word; what is so for longer began earlier."""
        return of_silence if self.rule.counts_minutes else LOOKUP[operator]

    def _limit(self, bound: Combinable) -> Any:
        """The bound as what `seen` is compared with: a number, or a moment."""
        if self.rule.kind == Kind.METRIC:
            return bound
        minutes = self.rule.counts_minutes
        unit = timedelta(minutes=-1) if minutes else timedelta(days=1)
        span = ExpressionWrapper(bound * Value(unit), output_field=DurationField())
        return ExpressionWrapper(Value(self.now) + span, output_field=DateTimeField())

    def _lasting(self, found: QuerySet[Any]) -> QuerySet[Any]:
        """Those whose samples have said the same for as long as the rule wants.

        The newest sample that is so old violates it, and so does each one since.
        """
        if not self.rule.lasting_seconds and not self.overridden:
            return found
        seconds = self._own("lasting_seconds", FloatField())
        lasting = ExpressionWrapper(
            seconds * Value(timedelta(seconds=1)), output_field=DurationField()
        )
        found = found.annotate(
            bound=self._own("threshold", FloatField()), lasting=lasting
        )
        measure = self.rule.measure
        samples = DeviceMetrics.objects.filter(
            device_id=OuterRef("device_id"),
            recorded_at__gt=OuterRef("recorded_at")
            - OuterRef("lasting")
            - no_data_after(),
            **{f"{measure}__isnull": False},
        )
        boundary = OuterRef("recorded_at") - OuterRef("lasting")
        before = samples.filter(recorded_at__lte=boundary).order_by("-recorded_at")
        otherwise = samples.filter(
            recorded_at__gt=boundary,
            recorded_at__lte=OuterRef("recorded_at"),
            **{f"{measure}__{LOOKUP[OPPOSITE[self.rule.operator]]}": OuterRef("bound")},
        )
        found = found.annotate(before=Subquery(before.values(measure)[:1]))
        return found.filter(
            ~Exists(otherwise),
            **{f"before__{LOOKUP[self.rule.operator]}": F("bound")},
        )

    def _without_data(self) -> QuerySet[Any]:
        """Devices that are there long enough and have no new sample of the measure."""
        since = self.now - no_data_after()
        old = Q(metrics__recorded_at__lte=since) | Q(metrics__isnull=True)
        silent = old | Q(**{f"metrics__{self.rule.measure}__isnull": True})
        devices = self._devices().filter(silent, registered_at__lte=since)
        return devices.annotate(watched=F("pk"), seen=F("last_seen"))

    def _without_alert(self, found: QuerySet[Any]) -> QuerySet[Any]:
        cooled = self.now - timedelta(seconds=self.rule.cool_down_seconds)
        known = Alert.objects.filter(
            Q(settled_at__isnull=True) | Q(closed_at__gt=cooled),
            rule=self.rule,
            device=OuterRef("watched"),
        )
        incident = (
            Alert.objects.open()
            .incidents()
            .filter(
                members__device=OuterRef("watched"), members__returned_at__isnull=True
            )
        )
        found = found.filter(~Exists(known))
        if found.model is Device:  # its silence is the reason
            found = found.filter(~Exists(incident))
        if self.overridden:
            found = found.filter(self._is_enabled(device="watched"))
        severity = self._own("severity", None)
        rows: QuerySet[Any] = found.annotate(weight=severity)
        return rows.values_list("watched", "seen", "weight")

    def _is_enabled(self, *, device: str) -> Exact:
        enabled = self._own("is_enabled", BooleanField(), device=device)
        return Exact(enabled, Value(True))

    def _own(self, name: str, field: Any, *, device: str = "watched") -> Any:
        """What the rule says, or an override for the device or its first tag."""
        plain = Value(getattr(self.rule, name), output_field=field)
        if not self.overridden:
            return plain
        said: Any = NullIf(F(name), Value("")) if name == "severity" else F(name)
        overrides = RuleOverride.objects.filter(rule=self.rule).annotate(said=said)
        mine = overrides.filter(device_id=OuterRef(device))
        tagged = overrides.filter(
            tag__device_tags__device_id=OuterRef(device)
        ).order_by("tag__name")
        return Coalesce(
            Subquery(mine.values("said")[:1]),
            Subquery(tagged.values("said")[:1]),
            plain,
        )

    def _reason(self, seen: Any) -> tuple[float | None, datetime]:
        """The value in the rule's unit, and since when it is so."""
        match self.rule.kind:
            case Kind.METRIC:
                lasting = timedelta(seconds=self.rule.lasting_seconds)
                return seen, self.now - lasting
            case Kind.SILENCE | Kind.DRIFT:
                return (self.now - seen) / timedelta(minutes=1), seen
            case _:
                return (seen - self.now) / timedelta(days=1), self.now
