"""Queue an immediate evaluation for samples that may open or close an alert.

Each web process compares the samples it has just stored with a copy of the rules that is
a few seconds old. The copy covers all tenants, so its price does not depend on how many of
them send samples. The process collects the devices that may be affected, and
queues one task for many devices. The next periodic evaluation covers all other samples.
"""

import logging
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.core.exceptions import SynchronousOnlyOperation
from django.db import Error, connection
from kombu.exceptions import OperationalError

from core.background import BackgroundCall
from core.tasks import enqueue
from devices.metrics.sample_values import Row
from devices.monitoring.conditions import COMPARE
from devices.monitoring.models import Alert, MonitoringRule, RuleOverride
from tenants.context import every_tenant_scope

CACHE_SECONDS = 5.0
BATCH = 1_000  # devices in one task
MAX_CONDITIONS = 100_000
MAX_ALERTED_DEVICES = 100_000

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Checks:
    """The conditions of metric rules by tenant, and the devices with alerts."""

    expires_at: float  # compared with time.monotonic()
    conditions: dict[UUID, list[tuple[str, str, float]]] = field(default_factory=dict)
    alerted_ids: set[UUID] = field(default_factory=set)

    def may_change_alerts(self, tenant_id: UUID, device_id: UUID, row: Row) -> bool:
        """Return True if the sample violates a rule, or the device has an alert."""
        return device_id in self.alerted_ids or any(
            row[measure] is not None and COMPARE[operator](row[measure], bound)
            for measure, operator, bound in self.conditions.get(tenant_id, ())
        )


_checks: Checks | None = None
_pending_ids: set[UUID] = set()
_lock = threading.Lock()


def check_sample(tenant_id: UUID, device_id: UUID, row: Row) -> None:
    """Request an evaluation of the device if its newest sample may change alerts."""
    checks = _current_checks()
    if checks is None or checks.may_change_alerts(tenant_id, device_id, row):
        with _lock:
            _pending_ids.add(device_id)
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
    global _checks
    _checks = None


def _current_checks() -> Checks | None:
    """Return the cached rules, and renew them in the background when they are old.

    On the event loop, the first call returns None.
    """
    if _checks is None:
        with suppress(SynchronousOnlyOperation):
            _read_checks()
            return _checks
    if _checks is None or _checks.expires_at < time.monotonic():
        _request_rules()
    return _checks


def _read_checks() -> None:
    """Read the enabled metric rules and the unsettled metric alerts of all tenants."""
    global _checks
    kind = MonitoringRule.Kind.METRIC
    checks = Checks(expires_at=time.monotonic() + CACHE_SECONDS)
    with every_tenant_scope():
        rules = MonitoringRule.every_tenant.enabled().filter(kind=kind)
        overrides = RuleOverride.every_tenant.filter(rule__in=rules, threshold__isnull=False)
        conditions: list[Any] = [
            *rules.values_list("tenant_id", "measure", "operator", "threshold")[:MAX_CONDITIONS],
            *overrides.values_list(
                "tenant_id", "rule__measure", "rule__operator", "threshold"
            ).distinct()[:MAX_CONDITIONS],
        ]
        for tenant_id, *condition in conditions:
            checks.conditions.setdefault(tenant_id, []).append(tuple(condition))
        alerts = Alert.every_tenant.unsettled().filter(kind=kind)
        checks.alerted_ids.update(alerts.values_list("device_id", flat=True)[:MAX_ALERTED_DEVICES])
    _checks = checks


def _read_in_background() -> None:
    try:
        _read_checks()
    except Error:  # an error that ended the thread would stop all later renewals
        logger.warning("The rules cannot be read. Samples are compared with older ones.")
    finally:
        connection.close()


def _enqueue_checks() -> None:
    """Queue a task for each batch of pending devices.

    Raises:
        OperationalError: the broker cannot be reached. The next periodic evaluation
            covers the devices.
    """
    for device_ids in take_pending():
        enqueue("devices.monitoring.tasks.evaluate_devices", list(map(str, device_ids)), expires=55)


_request_check = BackgroundCall(_enqueue_checks, OperationalError)
_request_rules = BackgroundCall(_read_in_background, OperationalError, pause=CACHE_SECONDS / 2)
