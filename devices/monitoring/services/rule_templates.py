"""The rules that every tenant begins with, switched on."""

from datetime import datetime
from typing import Any

from django.conf import settings

from devices.monitoring.models import MonitoringRule
from events.severity import Severity

HALF_AN_HOUR = 30 * 60


def templates() -> list[dict[str, Any]]:
    """The fields of each."""
    minutes = max(1, round(settings.RECENT_THRESHOLD_MS / 60_000))
    return [
        {
            "template": "device_disconnected",
            "name": "Device disconnected",
            "kind": MonitoringRule.Kind.SILENCE.value,
            "operator": MonitoringRule.Operator.AT_LEAST.value,
            "threshold": minutes,
            "severity": Severity.HIGH.value,
        },
        {
            "template": "cpu_high",
            "name": "CPU > 90 %",
            "kind": MonitoringRule.Kind.METRIC.value,
            "measure": "cpu_usage",
            "threshold": 90,
            "clear_threshold": 80,
            "cool_down_seconds": HALF_AN_HOUR,
            "severity": Severity.HIGH.value,
        },
        {
            "template": "ram_high",
            "name": "RAM > 85 %",
            "kind": MonitoringRule.Kind.METRIC.value,
            "measure": "ram_usage",
            "threshold": 85,
            "clear_threshold": 80,
            "cool_down_seconds": HALF_AN_HOUR,
            "severity": Severity.MEDIUM.value,
        },
        {
            "template": "network_down",
            "name": "Network down",
            "kind": MonitoringRule.Kind.METRIC.value,
            "measure": "is_connected",
            "operator": MonitoringRule.Operator.BELOW.value,
            "threshold": 1,
            "severity": Severity.CRITICAL.value,
        },
        {
            "template": "configuration_drift",
            "name": "Configuration not applied",
            "kind": MonitoringRule.Kind.DRIFT.value,
            "operator": MonitoringRule.Operator.AT_LEAST.value,
            "threshold": settings.CONFIGURATION_DRIFT_MINUTES,
            "severity": Severity.MEDIUM.value,
        },
    ]


def load(*, now: datetime) -> None:
    """Give the current tenant the rules that it has not."""
    MonitoringRule.objects.bulk_create(
        [MonitoringRule(created_at=now, **fields) for fields in templates()],
        ignore_conflicts=True,
    )
