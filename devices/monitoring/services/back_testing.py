"""How often a rule would have fired, before it is switched on.

Metrics: the hourly roll-ups say which devices come into question, and their samples
are then gone through as the passes would have seen them. Silence: the registry's events
tell each pause. Certificates: their ends are known.
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
from devices.metrics.models import DailyMetrics, DeviceMetrics, HourlyMetrics
from devices.monitoring.conditions import Condition, OpeningHours
from devices.monitoring.errors import InvalidRule
from devices.monitoring.models import MonitoringRule
from devices.monitoring.services.rules import Conditions, hours_of
from devices.monitoring.services.violations import in_scope, no_data_after
from devices.registry.events import DeviceStatusChanged
from devices.registry.models import Device
from events.models import Event

MOST_DAYS = 30
MOST_SAMPLES = 300_000  # that one back-test goes through: a few seconds
MOST_PAUSES = 200_000
WORST = 20  # devices that it names
DRIFTED, CONVERGED = "configuration.drifted", "configuration.converged"  # events
Kind = MonitoringRule.Kind
Seen = tuple[datetime, float | None]  # when, and the value


@dataclass(slots=True)
class BackTest:
    """What a rule would have done.

    `complete` is False when more devices came into question than were gone through; the
    numbers are then a lower bound.
    """

    days: int
    alerts: int = 0
    devices: int = 0
    complete: bool = True
    by_day: dict[date, int] = field(default_factory=dict)
    worst: list[tuple[UUID, str, int, datetime]] = field(default_factory=list)


def back_test(rule: MonitoringRule, *, days: int, now: datetime) -> BackTest:
    """Go through the last days with a rule, switched on or not.

    Raises:
        InvalidRule: so far back nothing is known.
    """
    if not 1 <= days <= MOST_DAYS:
        raise InvalidRule(f"From 1 to {MOST_DAYS} days.", field="days")
    start = now - timedelta(days=days)
    told = BackTest(days=days)
    told.by_day = {(start + timedelta(days=day)).date(): 0 for day in range(days + 1)}
    match rule.kind:
        case Kind.METRIC:
            fired = _metric(rule, start, now, told)
        case Kind.SILENCE:
            fired = _silence(rule, start, now, told)
        case Kind.DRIFT:
            fired = _drift(rule, start, now, told)
        case _:
            fired = _certificate(rule, start, now)
    _count(told, list(fired))
    return told


@dataclass(slots=True, kw_only=True)
class Simulation:
    """A device's samples gone through as the passes would have seen them. Pure.

    `gap`: after so long without a sample there is no data; `no_data`: what that does:
    `keep`, `open` or `close`.
    """

    condition: Condition
    hours: OpeningHours
    cool_down: timedelta
    gap: timedelta
    no_data: str
    _is_open: bool = False
    _violated_since: datetime | None = None  # without a break
    _rests_until: datetime | None = None

    def firings(self, seen: Iterable[Seen]) -> Iterator[datetime]:
        """When alerts would have been opened; `seen` in order of time."""
        last: datetime | None = None
        for at, value in seen:
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
            if at - self._violated_since >= self.condition.lasting:
                yield from self._open(at)
            return
        self._violated_since = None
        if self.condition.cleared_by(value):
            self._close(at)

    def _open(self, at: datetime) -> Iterator[datetime]:
        rested = self._rests_until is None or at >= self._rests_until
        if not self._is_open and rested and self.hours.include(at):
            self._is_open = True
            yield at

    def _close(self, at: datetime) -> None:
        if self._is_open:
            self._is_open, self._rests_until = False, at + self.cool_down


def _metric(
    rule: MonitoringRule, start: datetime, now: datetime, told: BackTest
) -> Iterator[tuple[UUID, datetime]]:
    conditions = Conditions(rule)
    candidates = [
        device_id
        for device_id in _in_question(rule, start, now, conditions.loosest())
        if not conditions.switched_off(device_id)
    ]
    interval = timedelta(seconds=settings.METRICS_INTERVAL_SECONDS)
    per_device = max(1, timedelta(days=told.days) // interval)
    most = max(1, MOST_SAMPLES // per_device)
    told.complete = len(candidates) <= most
    for device_id in candidates[:most]:
        samples = (
            DeviceMetrics.objects.filter(
                device_id=device_id, recorded_at__gte=start, recorded_at__lt=now
            )
            .order_by("recorded_at")
            .values_list("recorded_at", rule.measure)[:MOST_SAMPLES]
        )
        simulation = Simulation(
            condition=conditions.of(device_id),
            hours=hours_of(rule),
            cool_down=timedelta(seconds=rule.cool_down_seconds),
            gap=no_data_after(),
            no_data=rule.no_data,
        )
        for at in simulation.firings(samples.iterator()):
            yield device_id, at


def _in_question(
    rule: MonitoringRule, start: datetime, now: datetime, bound: float
) -> list[UUID]:
    """Devices with hours, or days, in which it was violated; those with the most first."""
    rising = rule.operator in ("gt", "ge")
    extreme = f"{rule.measure}_{'most' if rising else 'least'}"
    lookup = f"{extreme}__{'gte' if rising else 'lte'}"
    few = now - start <= timedelta(days=2)
    model, step = (HourlyMetrics, "hour") if few else (DailyMetrics, "day")
    hours = model.objects.filter(
        starts_at__gte=start - timedelta(**{f"{step}s": 1}), starts_at__lt=now
    )
    if rule.no_data != MonitoringRule.NoData.OPEN:  # else each may have had a gap
        hours = hours.filter(**{lookup: bound})
    if rule.scope != MonitoringRule.Scope.ALL:
        hours = hours.filter(device_id__in=in_scope(rule).values("pk"))
    counted = hours.order_by().values("device_id").annotate(count=Count("*"))
    return list(
        counted.order_by("-count", "device_id").values_list("device_id", flat=True)
    )


def _silence(
    rule: MonitoringRule, start: datetime, now: datetime, told: BackTest
) -> Iterator[tuple[UUID, datetime]]:
    """Each pause that was long enough, those that are not over included."""
    chosen = set(in_scope(rule).values_list("pk", flat=True))
    conditions, hours = Conditions(rule), hours_of(rule)
    returned = (
        Event.objects.named(DeviceStatusChanged.name)
        .since(start)
        .filter(at__lt=now, data__status=Device.Status.ONLINE.value)
        .exclude(data__last_seen=None)
        .order_by("id")
        .values_list("device_id", "data__last_seen", "at")[:MOST_PAUSES]
    )
    pauses: list[Any] = [
        (device_id, datetime.fromisoformat(since), until)
        for device_id, since, until in returned.iterator()
    ]
    told.complete = len(pauses) < MOST_PAUSES
    away = in_scope(rule).exclude(last_seen=None)
    pauses += [(pk, seen, now) for pk, seen in away.values_list("pk", "last_seen")]
    for device_id, since, until in pauses:
        if device_id not in chosen or conditions.switched_off(device_id):
            continue
        at = since + timedelta(minutes=conditions.of(device_id).threshold)
        if start <= at <= until and hours.include(at):
            yield device_id, at


def _drift(
    rule: MonitoringRule, start: datetime, now: datetime, told: BackTest
) -> Iterator[tuple[UUID, datetime]]:
    """Each announced drift that lasted long enough, those that are not over included."""
    chosen = set(in_scope(rule).values_list("pk", flat=True))
    conditions, hours = Conditions(rule), hours_of(rule)
    events = (
        Event.objects.filter(name__in=(DRIFTED, CONVERGED))
        .since(start)
        .filter(at__lt=now)
        .order_by("-id")
        .values_list("name", "device_id", "at", "data__since")[:MOST_PAUSES]
    )
    rows: list[Any] = list(events)
    told.complete = len(rows) < MOST_PAUSES
    over: dict[UUID, datetime] = {}
    for name, device_id, at, since in rows:  # the newest first
        if name == CONVERGED:
            over[device_id] = at
            continue
        until = over.pop(device_id, now)
        if device_id not in chosen or conditions.switched_off(device_id):
            continue
        threshold = timedelta(minutes=conditions.of(device_id).threshold)
        fires = max(at, datetime.fromisoformat(since) + threshold)
        if start <= fires <= until and hours.include(fires):
            yield device_id, fires


def _certificate(
    rule: MonitoringRule, start: datetime, now: datetime
) -> Iterator[tuple[UUID, datetime]]:
    """Certificates that came so near to their end before there was another."""
    conditions, hours = Conditions(rule), hours_of(rule)
    chosen = in_scope(rule)
    issued = (
        DeviceCertificate.objects.signed()
        .owned()
        .filter(device__in=chosen.values("pk"))
        .order_by("device", "not_after")
        .values_list("device_id", "issued_at", "not_after")
    )
    rows: list[Any] = list(issued)
    for (device_id, _, ends), following in zip(rows, [*rows[1:], None], strict=True):
        at = ends - timedelta(days=conditions.of(device_id).threshold)
        replaced = following[1] if following and following[0] == device_id else None
        in_time = replaced is not None and replaced <= at
        if conditions.switched_off(device_id):
            continue
        if start <= at <= now and not in_time and hours.include(at):
            yield device_id, at


def _count(told: BackTest, fired: list[tuple[UUID, datetime]]) -> None:
    per_device = Counter(device_id for device_id, _ in fired)
    first: dict[UUID, datetime] = {}
    for device_id, at in fired:
        told.by_day[at.date()] = told.by_day.get(at.date(), 0) + 1
        first[device_id] = min(at, first.get(device_id, at))
    worst = per_device.most_common(WORST)
    names = dict(
        Device.objects.filter(pk__in=[device_id for device_id, _ in worst]).values_list(
            "pk", "name"
        )
    )
    told.alerts, told.devices = len(fired), len(per_device)
    told.worst = [
        (device_id, names.get(device_id, ""), count, first[device_id])
        for device_id, count in worst
    ]
