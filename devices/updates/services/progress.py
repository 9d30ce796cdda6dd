"""How far a rollout is, as a person looks at it: shares, a chart, failures by kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, DateTimeField, F, Func, Value

from core.charts import Chart, Point, chart
from devices.updates.models import Deployment, DeploymentWave, Status, UpdateStatus

POINTS = 120  # of a chart at most
PARTS = (  # of a bar: its class, what it is called, which statuses
    ("done", "updated", (Status.COMPLETED,)),
    ("back", "rolled back", (Status.ROLLED_BACK,)),
    ("busy", "under way", (Status.DOWNLOADING, Status.INSTALLING)),
    ("bad", "failed", (Status.FAILED,)),
    ("gone", "cancelled", (Status.CANCELLED,)),
)


@dataclass(frozen=True, slots=True)
class Part:
    """Of a bar: so many devices, that are so many percent."""

    kind: str
    label: str
    devices: int
    percent: float


def bar(counts: Mapping[str, int], total: int) -> list[Part]:
    """The parts of a bar for so many devices; those that wait are its end."""
    found = [
        (kind, label, sum(counts.get(status, 0) for status in statuses))
        for kind, label, statuses in PARTS
    ]
    unreached = counts.get("unreached", 0)
    waiting = counts.get(Status.PENDING, 0) - unreached
    found += [("waits", "waiting", waiting), ("away", "unreached", unreached)]
    known = sum(number for _, _, number in found)
    found.append(("later", "in a later wave", max(0, total - known)))
    whole = max(total, known, 1)
    return [
        Part(kind, label, number, round(100 * number / whole, 2))
        for kind, label, number in found
        if number > 0
    ]


def all_counts(row: Deployment) -> dict[str, int]:
    """Those of all waves together."""
    told: dict[str, int] = {}
    for wave in row.waves.all():
        for name, number in wave.counts.items():
            told[name] = told.get(name, 0) + number
    return told


def done_in_words(row: Deployment) -> str:
    """Of a row whose waves are at hand."""
    told = all_counts(row)
    done = told.get(Status.COMPLETED, 0) + told.get(Status.ROLLED_BACK, 0)
    return f"{done:,} of {row.counted:,}"


def size_in_words(wave: DeploymentWave) -> str:
    """How far a wave goes."""
    if wave.percent is not None:
        return f"up to {wave.percent:g} %"
    return f"up to {wave.count:,} devices"


def over_time(row: Deployment, *, now: datetime) -> Chart | None:
    """How many devices were updated, and how many failed, since it was begun."""
    if row.begun_at is None:
        return None
    start, end = row.begun_at, row.ended_at or now
    end = max(end, start + timedelta(minutes=5))
    step = max(timedelta(seconds=5), (end - start) / POINTS)
    place = Func(
        Value(step),
        F("ended_at"),
        Value(start),
        function="date_bin",
        output_field=DateTimeField(),
    )
    ended = UpdateStatus.objects.filter(
        deployment=row, ended_at__gte=start, ended_at__lte=end
    ).exclude(status=Status.CANCELLED)
    rows = ended.order_by().annotate(place=place).values_list("place", "status")
    good: dict[datetime, int] = {}
    bad: dict[datetime, int] = {}
    for at, status, number in rows.annotate(devices=Count("pk")):
        counted = bad if status == Status.FAILED else good
        counted[at] = counted.get(at, 0) + number
    return chart(
        "Devices over time",
        _summed(good, start, min(now, end), step),
        start=start,
        end=end,
        step=step,
        floor=0,
        against=_summed(bad, start, min(now, end), step) if bad else (),
        unit="updated",
    )


def _summed(
    counted: Mapping[datetime, int], start: datetime, end: datetime, step: timedelta
) -> list[Point]:
    points, total, at = [Point(start, 0)], 0, start
    while at < end:
        total += counted.get(at, 0)
        at += step
        points.append(Point(min(at, end), total))
    return points


def facts_of(row: Deployment) -> list[tuple[str, Any]]:
    """Its terms, in words."""
    told: list[tuple[str, Any]] = []
    if row.rolls_back is None:
        said = [f"{name} {value}" for name, value in sorted(row.filter.items())]
        told.append(("For", ", ".join(said) or "every device"))
        told.append(
            (
                "Goes on",
                f"when {row.success_percent:g} % of those that have begun have succeeded",
            )
        )
        told.append(
            (
                "Pauses",
                f"when it is certain that more than {row.failure_percent:g} % fail",
            )
        )
    told.append(
        (
            "Succeeded",
            f"is a device that is back with the version and well for {row.soak_minutes} minutes",
        )
    )
    if row.rate:
        told.append(("Pace", f"{row.rate:,} devices a minute"))
    for window in row.windows:
        days = ", ".join(day[:3].capitalize() for day in window["days"])
        told.append(
            ("Only", f"{days} {window['from']} to {window['until']}, local time")
        )
    return told
