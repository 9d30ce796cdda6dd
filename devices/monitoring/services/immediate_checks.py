"""Samples that give reason to look at once, and not at the next pass.

Each web process looks at what it has just stored with rules that are a few seconds old
at most, and leaves the devices that may matter to a worker, many at once.
"""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from kombu.exceptions import OperationalError

from core.background import BackgroundCall
from core.tasks import enqueue
from devices.metrics.sample_validation import Row
from devices.monitoring.conditions import HOLDS
from devices.monitoring.models import Alert, MonitoringRule, RuleOverride
from devices.registry.models import Device

GOOD_FOR = 5.0  # seconds
AT_ONCE = 1_000  # devices in one task
MOST_ALERTED = 20_000  # that are remembered of a tenant


@dataclass(slots=True)
class Watched:
    """What is looked for in the samples of a tenant, for a few seconds."""

    until: float
    conditions: list[tuple[str, str, float]] = field(default_factory=list)
    alerted: set[UUID] = field(default_factory=set)  # devices that may be good again

    def matters(self, device_id: UUID, row: Row) -> bool:
        return device_id in self.alerted or any(
            row[measure] is not None and HOLDS[operator](row[measure], bound)
            for measure, operator, bound in self.conditions
        )


_watched: dict[UUID, Watched] = {}
_noticed: set[UUID] = set()
_lock = threading.Lock()


def notice(device: Device, row: Row) -> None:
    """Look at the newest sample of a device; have a worker look if it may matter."""
    assert device.tenant_id is not None
    if _of_tenant(device.tenant_id).matters(device.pk, row):
        with _lock:
            _noticed.add(device.pk)
        _request_check()


def take() -> Iterable[list[UUID]]:
    """The devices noticed since the last time, in lists for one task each."""
    with _lock:
        taken = list(_noticed)
        _noticed.clear()
    for start in range(0, len(taken), AT_ONCE):
        yield taken[start : start + AT_ONCE]


def forget() -> None:
    """Look at the rules anew with the next sample."""
    _watched.clear()


def _of_tenant(tenant_id: UUID) -> Watched:
    known = _watched.get(tenant_id)
    if known is None or known.until < time.monotonic():
        known = _watched[tenant_id] = _read()
    return known


def _read() -> Watched:
    """The current tenant's enabled rules on metrics, and who has an alert of them."""
    kind = MonitoringRule.Kind.METRIC
    watched = Watched(until=time.monotonic() + GOOD_FOR)
    rules = MonitoringRule.objects.switched_on().filter(kind=kind)
    own = RuleOverride.objects.filter(rule__in=rules, threshold__isnull=False)
    bounds: list[Any] = [
        *rules.values_list("measure", "operator", "threshold"),
        *own.values_list("rule__measure", "rule__operator", "threshold").distinct(),
    ]
    watched.conditions += bounds
    alerts = Alert.objects.unsettled().filter(kind=kind)
    watched.alerted.update(alerts.values_list("device_id", flat=True)[:MOST_ALERTED])
    return watched


def _enqueue_checks() -> None:
    """
    Raises:
        OperationalError: the broker does not answer; the next pass finds the devices.
    """
    for device_ids in take():
        enqueue(
            "devices.monitoring.tasks.evaluate_devices",
            list(map(str, device_ids)),
            expires=55,
        )


_request_check = BackgroundCall(_enqueue_checks, OperationalError)
