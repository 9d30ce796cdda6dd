"""Back-test a rule: count the alerts it would have opened in the last days.

For metric rules, the roll-ups select the devices whose samples may violate the rule. The
samples of these devices are evaluated one by one. For rules on silence, presence events
show the pauses, which are times without contact. For rules on drift, configuration events
show the drifts, which are times without the desired configuration. For rules on
certificates, the expiry dates are evaluated.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Count

from certificates.models import DeviceCertificate
from core.weekly_times import WeeklyHours
from devices.metrics.models import DailyMetrics, DeviceMetrics, HourlyMetrics
from devices.monitoring.conditions import Condition, max_sample_age
from devices.monitoring.errors import InvalidRule
from devices.monitoring.models import MonitoringRule
from devices.monitoring.services.flapping import reopening_period
from devices.monitoring.services.rule_scope import in_scope
from devices.monitoring.services.rules import Conditions, opening_hours
from devices.registry.events import DeviceStatusChanged
from devices.registry.models import Device
from events.models import Event

MAX_DAYS = 30
MAX_SAMPLES = 300_000  # evaluated in one back-test; this takes a few seconds
MAX_PAUSES = 200_000
MAX_NAMED_DEVICES = 20
DRIFTED, CONVERGED = "configuration.drifted", "configuration.converged"  # events
Kind = MonitoringRule.Kind
TimedValue = tuple[datetime, float | None]
Firing = tuple[UUID, datetime]  # the device, and when an alert would have been opened


@dataclass(slots=True)
class BackTest:
    """The alerts that a rule would have opened.

    `complete` is False if there was more data than a back-test evaluates. The numbers
    are then a lower bound.
    """

    days: int
    alerts: int = 0
    devices: int = 0
    complete: bool = True
    by_day: dict[date, int] = field(default_factory=dict)
    # Device id, name, number of alerts, time of the first alert; most alerts first.
    worst: list[tuple[UUID, str, int, datetime]] = field(default_factory=list)


def back_test(rule: MonitoringRule, *, days: int, now: datetime) -> BackTest:
    """Back-test a rule over the last days. The rule may be disabled.

    Raises:
        InvalidRule: `days` is not between 1 and `MAX_DAYS`.
    """
    if not 1 <= days <= MAX_DAYS:
        message = f"The number of days must be between 1 and {MAX_DAYS}."
        raise InvalidRule(message, field="days")
    start = now - timedelta(days=days)
    result = BackTest(days=days)
    result.by_day = {(start + timedelta(days=day)).date(): 0 for day in range(days + 1)}
    match rule.kind:
        case Kind.METRIC:
            firings = _metric(rule, start, now, result)
        case Kind.SILENCE:
            firings = _silence(rule, start, now, result)
        case Kind.DRIFT:
            firings = _drift(rule, start, now, result)
        case _:
            firings = _certificate(rule, start, now)
    _count(result, list(firings))
    return result


@dataclass(slots=True, kw_only=True)
class Simulation:
    """Evaluate one device's samples as the periodic evaluations would have evaluated them.

    `gap` is the time without a sample after which the device has no data. `no_data`
    defines what happens to the alert of a device without data: `keep`, `open` or `close`.
    `reopening_period` is the time after its closing in which an alert is reopened.
    """

    condition: Condition
    hours: WeeklyHours
    reopening_period: timedelta
    gap: timedelta
    no_data: str
    _is_open: bool = False
    _violated_since: datetime | None = None  # without interruption
    _reopens_until: datetime | None = None

    def firings(self, samples: Iterable[TimedValue]) -> Iterator[datetime]:
        """Yield the times at which alerts would have been opened.

        Args:
            samples: times and values, in order of time.
        """
        last: datetime | None = None
        for at, value in samples:
            if value is None:
                continue
            if last is not None and at - last > self.gap:
                yield from self._without_data(last + self.gap)
            last = at
            yield from self._with(value, at)

    def _without_data(self, at: datetime) -> Iterator[datetime]:
        self._violated_since = None
        if self.no_data == "close":
            self._close(at)
        elif self.no_data == "open":
            yield from self._open(at)

    def _with(self, value: float, at: datetime) -> Iterator[datetime]:
        if self.condition.violated_by(value):
            self._violated_since = self._violated_since or at
            if at - self._violated_since >= self.condition.duration:
                yield from self._open(at)
            return
        self._violated_since = None
        if self.condition.cleared_by(value):
            self._close(at)

    def _open(self, at: datetime) -> Iterator[datetime]:
        if self._is_open or not self.hours.include(at):
            return
        self._is_open = True
        if self._reopens_until is None or at >= self._reopens_until:
            yield at

    def _close(self, at: datetime) -> None:
        if self._is_open:
            self._is_open, self._reopens_until = False, at + self.reopening_period


def _metric(
    rule: MonitoringRule, start: datetime, now: datetime, result: BackTest
) -> Iterator[Firing]:
    conditions = Conditions(rule)
    candidates = [
        device_id
        for device_id in _candidates(rule, start, now, conditions.loosest_threshold())
        if not conditions.is_disabled(device_id)
    ]
    interval = timedelta(seconds=settings.METRICS_INTERVAL_SECONDS)
    samples_per_device = max(1, timedelta(days=result.days) // interval)
    max_devices = max(1, MAX_SAMPLES // samples_per_device)
    result.complete = len(candidates) <= max_devices
    for device_id in candidates[:max_devices]:
        samples = (
            DeviceMetrics.objects.filter(
                device_id=device_id, recorded_at__gte=start, recorded_at__lt=now
            )
            .order_by("recorded_at")
            .values_list("recorded_at", rule.measure)[:MAX_SAMPLES]
        )
        simulation = Simulation(
            condition=conditions.of(device_id),
            hours=opening_hours(rule),
            reopening_period=reopening_period(rule),
            gap=max_sample_age(),
            no_data=rule.no_data,
        )
        for at in simulation.firings(samples.iterator()):
            yield device_id, at


def _candidates(
    rule: MonitoringRule, start: datetime, now: datetime, threshold: float
) -> list[UUID]:
    """Return devices that may violate the rule by their roll-ups, the most affected first."""
    opens_above = rule.operator in ("gt", "ge")
    extreme = f"{rule.measure}_{'most' if opens_above else 'least'}"
    lookup = f"{extreme}__{'gte' if opens_above else 'lte'}"
    is_short = now - start <= timedelta(days=2)
    model, unit = (HourlyMetrics, "hours") if is_short else (DailyMetrics, "days")
    roll_ups = model.objects.filter(
        starts_at__gte=start - timedelta(**{unit: 1}), starts_at__lt=now
    )
    if rule.no_data != MonitoringRule.NoData.OPEN:  # otherwise gaps matter too
        roll_ups = roll_ups.filter(**{lookup: threshold})
    if rule.scope != MonitoringRule.Scope.ALL:
        roll_ups = roll_ups.filter(device_id__in=in_scope(rule).values("pk"))
    counts = roll_ups.order_by().values("device_id").annotate(count=Count("*"))
    return list(counts.order_by("-count", "device_id").values_list("device_id", flat=True))


def _silence(
    rule: MonitoringRule, start: datetime, now: datetime, result: BackTest
) -> Iterator[Firing]:
    """Yield each time without contact that exceeded the threshold, even if it still lasts."""
    scope = set(in_scope(rule).values_list("pk", flat=True))
    conditions, hours = Conditions(rule), opening_hours(rule)
    returns = (
        Event.objects.named(DeviceStatusChanged.name)
        .since(start)
        .filter(at__lt=now, data__status=Device.Status.ONLINE.value)
        .exclude(data__last_seen=None)
        .order_by("id")
        .values_list("device_id", "data__last_seen", "at")[:MAX_PAUSES]
    )
    pauses: list[Any] = [
        (device_id, datetime.fromisoformat(since), until)
        for device_id, since, until in returns.iterator()
    ]
    result.complete = len(pauses) < MAX_PAUSES
    devices = in_scope(rule).exclude(last_seen=None)
    pauses += [
        (device_id, last_seen, now)
        for device_id, last_seen in devices.values_list("pk", "last_seen")
    ]
    lasting = []
    for device_id, since, until in pauses:
        if device_id not in scope or conditions.is_disabled(device_id):
            continue
        at = since + timedelta(minutes=conditions.of(device_id).threshold)
        if start <= at <= until and hours.include(at):
            lasting.append((at, until, device_id))
    yield from _without_reopenings(rule, lasting)


def _drift(
    rule: MonitoringRule, start: datetime, now: datetime, result: BackTest
) -> Iterator[Firing]:
    """Yield each configuration drift that exceeded the threshold, even if it still lasts."""
    scope = set(in_scope(rule).values_list("pk", flat=True))
    conditions, hours = Conditions(rule), opening_hours(rule)
    events = (
        Event.objects.filter(name__in=(DRIFTED, CONVERGED))
        .since(start)
        .filter(at__lt=now)
        .order_by("-id")
        .values_list("name", "device_id", "at", "data__since")[:MAX_PAUSES]
    )
    rows: list[Any] = list(events)
    result.complete = len(rows) < MAX_PAUSES
    converged_at: dict[UUID, datetime] = {}
    lasting = []
    for name, device_id, at, since in rows:  # the newest first
        if name == CONVERGED:
            converged_at[device_id] = at
            continue
        until = converged_at.pop(device_id, now)
        if device_id not in scope or conditions.is_disabled(device_id):
            continue
        threshold = timedelta(minutes=conditions.of(device_id).threshold)
        fires_at = max(at, datetime.fromisoformat(since) + threshold)
        if start <= fires_at <= until and hours.include(fires_at):
            lasting.append((fires_at, until, device_id))
    yield from _without_reopenings(rule, lasting)


def _without_reopenings(
    rule: MonitoringRule, lasting: list[tuple[datetime, datetime, UUID]]
) -> Iterator[Firing]:
    """Yield the alerts that are opened, without those that are reopened.

    Args:
        lasting: when an alert is raised, when its cause is gone, and the device's id.
    """
    period = reopening_period(rule)
    closed_at: dict[UUID, datetime] = {}
    for at, until, device_id in sorted(lasting):
        if device_id not in closed_at or at >= closed_at[device_id] + period:
            yield device_id, at
        closed_at[device_id] = until


def _certificate(rule: MonitoringRule, start: datetime, now: datetime) -> Iterator[Firing]:
    """Yield each certificate that reached the threshold before it was replaced."""
    conditions, hours = Conditions(rule), opening_hours(rule)
    scope = in_scope(rule)
    certificates = (
        DeviceCertificate.objects.signed()
        .of_current_tenant()
        .filter(device__in=scope.values("pk"))
        .order_by("device", "not_after")
        .values_list("device_id", "issued_at", "not_after")
    )
    rows: list[Any] = list(certificates)
    for (device_id, _, not_after), following in zip(rows, [*rows[1:], None], strict=True):
        at = not_after - timedelta(days=conditions.of(device_id).threshold)
        replaced_at = following[1] if following and following[0] == device_id else None
        in_time = replaced_at is not None and replaced_at <= at
        if conditions.is_disabled(device_id):
            continue
        if start <= at <= now and not in_time and hours.include(at):
            yield device_id, at


def _count(result: BackTest, firings: list[Firing]) -> None:
    counts = Counter(device_id for device_id, _ in firings)
    first: dict[UUID, datetime] = {}
    for device_id, at in firings:
        result.by_day[at.date()] = result.by_day.get(at.date(), 0) + 1
        first[device_id] = min(at, first.get(device_id, at))
    worst = counts.most_common(MAX_NAMED_DEVICES)
    names = dict(
        Device.objects.filter(pk__in=[device_id for device_id, _ in worst]).values_list(
            "pk", "name"
        )
    )
    result.alerts, result.devices = len(firings), len(counts)
    result.worst = [
        (device_id, names.get(device_id, ""), count, first[device_id]) for device_id, count in worst
    ]
