"""Prepare a rollout for display: progress bars, a chart and a summary of the settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, DateTimeField, F, Func, Value

from core.charts import Chart, Point, chart
from devices.updates.models import Deployment, DeploymentWave, Status, UpdateStatus

MAX_POINTS = 120  # of a chart
PARTS = (  # of a progress bar: CSS class, label, statuses
    ("done", "updated", (Status.COMPLETED,)),
    ("back", "rolled back", (Status.ROLLED_BACK,)),
    ("busy", "in progress", (Status.DOWNLOADING, Status.INSTALLING)),
    ("bad", "failed", (Status.FAILED,)),
    ("gone", "cancelled", (Status.CANCELLED,)),
)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a progress bar; `kind` is its CSS class."""

    kind: str
    label: str
    devices: int
    percent: float


def bar(counts: Mapping[str, int], total: int) -> list[Part]:
    """Return the parts of a progress bar. Parts without devices are omitted.

    Args:
        counts: number of devices in each status, as in `DeploymentWave.counts`.
        total: number of devices of the rollout or wave.
    """
    parts = [
        (kind, label, sum(counts.get(status, 0) for status in statuses))
        for kind, label, statuses in PARTS
    ]
    unreached = counts.get("unreached", 0)
    waiting = counts.get(Status.PENDING, 0) - unreached
    parts += [("waits", "waiting", waiting), ("away", "unreachable", unreached)]
    offered = sum(number for _, _, number in parts)
    parts.append(("later", "in a later wave", max(0, total - offered)))
    whole = max(total, offered, 1)
    return [
        Part(kind, label, number, round(100 * number / whole, 2))
        for kind, label, number in parts
        if number > 0
    ]


def total_counts(rollout: Deployment) -> dict[str, int]:
    """Return the number of devices of a rollout in each status, summed over all waves."""
    totals: dict[str, int] = {}
    for wave in rollout.waves.all():
        for name, number in wave.counts.items():
            totals[name] = totals.get(name, 0) + number
    return totals


def completed_text(rollout: Deployment) -> str:
    """Return the number of updated devices of a rollout as text, such as `4 of 10`.

    The caller should prefetch the waves of the rollout.
    """
    counts = total_counts(rollout)
    completed = counts.get(Status.COMPLETED, 0) + counts.get(Status.ROLLED_BACK, 0)
    return f"{completed:,} of {rollout.counted:,}"


def size_text(wave: DeploymentWave) -> str:
    """Return the size of a wave, for example `up to 25 %`."""
    if wave.percent is not None:
        return f"up to {wave.percent:g} %"
    return f"up to {wave.count:,} devices"


def completion_chart(rollout: Deployment, *, now: datetime) -> Chart | None:
    """Return a chart of updated and failed devices; None if the rollout has not started."""
    if rollout.begun_at is None:
        return None
    start, end = rollout.begun_at, rollout.ended_at or now
    end = max(end, start + timedelta(minutes=5))
    step = max(timedelta(seconds=5), (end - start) / MAX_POINTS)
    bucket = Func(
        Value(step), F("ended_at"), Value(start), function="date_bin", output_field=DateTimeField()
    )
    ended = UpdateStatus.objects.filter(
        deployment=rollout, ended_at__gte=start, ended_at__lte=end
    ).exclude(status=Status.CANCELLED)
    rows = ended.order_by().annotate(bucket=bucket).values_list("bucket", "status")
    updated: dict[datetime, int] = {}
    failed: dict[datetime, int] = {}
    for at, status, number in rows.annotate(devices=Count("pk")):
        counts = failed if status == Status.FAILED else updated
        counts[at] = counts.get(at, 0) + number
    return chart(
        "Devices over time",
        _cumulative(updated, start, min(now, end), step),
        start=start,
        end=end,
        step=step,
        floor=0,
        against=_cumulative(failed, start, min(now, end), step) if failed else (),
        unit="updated",
    )


def _cumulative(
    counts: Mapping[datetime, int], start: datetime, end: datetime, step: timedelta
) -> list[Point]:
    points, total, at = [Point(start, 0)], 0, start
    while at < end:
        total += counts.get(at, 0)
        at += step
        points.append(Point(min(at, end), total))
    return points


def settings_summary(rollout: Deployment) -> list[tuple[str, Any]]:
    """Return a label and a text for each setting of a rollout."""
    summary: list[tuple[str, Any]] = []
    if rollout.rolls_back is None:
        filters = [f"{name} {value}" for name, value in sorted(rollout.filter.items())]
        summary += [
            ("Devices", ", ".join(filters) or "all devices"),
            *([("Dynamic", "devices that match later are added")] if rollout.dynamic else []),
            (
                "Success threshold",
                f"{rollout.success_percent:g} % of a wave's reachable devices must succeed"
                " before the next wave starts",
            ),
            (
                "Failure threshold",
                "the rollout pauses when the 95 % confidence interval of the failure rate"
                f" is above {rollout.failure_percent:g} %",
            ),
        ]
    soak = f"{rollout.soak_minutes} minutes with the new version without a new alert"
    summary.append(("Soak time", soak))
    if rollout.rate:
        summary.append(("Rate", f"{rollout.rate:,} devices per minute"))
    for window in rollout.windows:
        days = ", ".join(day[:3].capitalize() for day in window["days"])
        hours = f"{window['from']} to {window['until']}"
        summary.append(("Maintenance window", f"{days} {hours}, device local time"))
    return summary
