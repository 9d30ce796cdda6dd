"""Queue an immediate evaluation for samples that may open or close an alert.

Each web process compares the samples it has just stored with a copy of the rules that is
at most a few seconds old. The process collects the devices that may be affected, and
queues one task for many devices. The next periodic evaluation covers all other samples.
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
from devices.metrics.sample_values import Row
from devices.monitoring.conditions import COMPARE
from devices.monitoring.models import Alert, MonitoringRule, RuleOverride
from devices.registry.models import Device

CACHE_SECONDS = 5.0
BATCH = 1_000  # devices in one task
MAX_ALERTED_DEVICES = 20_000  # cached for one tenant


@dataclass(slots=True)
class TenantChecks:
    """The conditions of a tenant's metric rules, and the devices with alerts."""

    expires_at: float  # compared with time.monotonic()
    conditions: list[tuple[str, str, float]] = field(default_factory=list)
    alerted_ids: set[UUID] = field(default_factory=set)

    def may_change_alerts(self, device_id: UUID, row: Row) -> bool:
        """Return True if the sample violates a rule, or the device has an alert."""
        return device_id in self.alerted_ids or any(
            row[measure] is not None and COMPARE[operator](row[measure], bound)
            for measure, operator, bound in self.conditions
        )


_cache: dict[UUID, TenantChecks] = {}
_pending_ids: set[UUID] = set()
_lock = threading.Lock()


def check_sample(device: Device, row: Row) -> None:
    """Request an evaluation of the device if its newest sample may change alerts."""
    assert device.tenant_id is not None
    if _tenant_checks(device.tenant_id).may_change_alerts(device.pk, row):
        with _lock:
            _pending_ids.add(device.pk)
        _request_check()


def take_pending() -> Iterable[list[UUID]]:
    """Remove the pending devices and yield their ids in lists. Each list is for one task."""
    with _lock:
        device_ids = list(_pending_ids)
        _pending_ids.clear()
    for start in range(0, len(device_ids), BATCH):
        yield device_ids[start : start + BATCH]


def clear_cache() -> None:
    """Clear the cached rules, so that the next sample reads them again."""
    _cache.clear()


def _tenant_checks(tenant_id: UUID) -> TenantChecks:
    checks = _cache.get(tenant_id)
    if checks is None or checks.expires_at < time.monotonic():
        checks = _cache[tenant_id] = _read()
    return checks


def _read() -> TenantChecks:
    """Read the current tenant's enabled metric rules and unsettled metric alerts."""
    kind = MonitoringRule.Kind.METRIC
    checks = TenantChecks(expires_at=time.monotonic() + CACHE_SECONDS)
    rules = MonitoringRule.objects.enabled().filter(kind=kind)
    overrides = RuleOverride.objects.filter(rule__in=rules, threshold__isnull=False)
    conditions: list[Any] = [
        *rules.values_list("measure", "operator", "threshold"),
        *overrides.values_list("rule__measure", "rule__operator", "threshold").distinct(),
    ]
    checks.conditions += conditions
    alerts = Alert.objects.unsettled().filter(kind=kind)
    checks.alerted_ids.update(alerts.values_list("device_id", flat=True)[:MAX_ALERTED_DEVICES])
    return checks


def _enqueue_checks() -> None:
    """Queue a task for each batch of pending devices.

    Raises:
        OperationalError: the broker cannot be reached. The next periodic evaluation
            covers the devices.
    """
    for device_ids in take_pending():
        enqueue("devices.monitoring.tasks.evaluate_devices", list(map(str, device_ids)), expires=55)


_request_check = BackgroundCall(_enqueue_checks, OperationalError)
