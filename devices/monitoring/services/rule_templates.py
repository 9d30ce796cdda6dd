"""Template rules, which every new tenant gets. The rules are enabled."""

from datetime import datetime
from typing import Any

from django.conf import settings

from devices.monitoring.models import MonitoringRule
from events.severity import Severity

HALF_AN_HOUR = 30 * 60  # seconds
# What the alerts of a template rule mean, and what to do.
EXPLANATIONS = {
    "device_disconnected": "The device has missed several connects: it has no power, no network, or"
    " its app does not run. Look at other devices of the site first; then power and network.",
    "cpu_high": "The processor has been busy. Pictures may stutter. Look for an app that does not"
    " stop, or content that is too demanding; a restart often helps for now.",
    "ram_high": "Memory is nearly full. Android ends apps before it runs out, so the screen may go"
    " blank. Restart the app, and look whether its memory grows day by day.",
    "network_down": "The device reports that its network has no connection, although it reaches the"
    " server now and then. Check the Wi-Fi signal or the cable at the device.",
    "configuration_drift": "The device has not applied its desired configuration. Its"
    " configuration tab shows which values differ, and the reason that the device gave.",
}


def templates() -> list[dict[str, Any]]:
    """Return the fields of each template rule."""
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
    """Create the template rules that the current tenant does not have yet."""
    MonitoringRule.objects.bulk_create(
        [MonitoringRule(created_at=now, **fields) for fields in templates()], ignore_conflicts=True
    )
