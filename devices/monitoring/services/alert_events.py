"""What events say of an alert."""

from datetime import datetime
from typing import Any

from devices.monitoring.events import AlertClosed, AlertOpened
from devices.monitoring.models import Alert


def about(alert: Alert, at: datetime) -> dict[str, Any]:
    """What every fact about an alert says."""
    return {
        "tenant_id": alert.tenant_id,
        "device_id": alert.device_id,
        "at": at,
        "alert_id": str(alert.pk),
        "severity": str(alert.severity),
        "title": alert.title,
        "devices": alert.devices,
    }


def opened(alert: Alert) -> AlertOpened:
    return AlertOpened(
        **about(alert, alert.opened_at), kind=str(alert.kind), value=alert.value
    )


def closed(alert: Alert, closing: Alert.Closing, now: datetime) -> AlertClosed:
    return AlertClosed(**about(alert, now), closing=closing.value)
