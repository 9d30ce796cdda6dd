"""Build the domain events of alerts."""

from datetime import datetime
from typing import Any

from devices.monitoring.events import AlertClosed, AlertOpened, AlertReopened
from devices.monitoring.models import Alert


def event_fields(alert: Alert, at: datetime) -> dict[str, Any]:
    """Return the fields that all events of an alert have."""
    return {
        "tenant_id": alert.tenant_id,
        "device_id": alert.device_id,
        "at": at,
        "alert_id": str(alert.pk),
        "severity": str(alert.severity),
        "title": alert.title,
        "devices": alert.devices,
    }


def opened_event(alert: Alert) -> AlertOpened:
    return AlertOpened(
        **event_fields(alert, alert.opened_at), kind=str(alert.kind), value=alert.value
    )


def reopened_event(alert: Alert, now: datetime) -> AlertReopened:
    return AlertReopened(
        **event_fields(alert, now), value=alert.value, occurrences=alert.occurrences
    )


def closed_event(alert: Alert, closing: Alert.Closing, now: datetime) -> AlertClosed:
    return AlertClosed(**event_fields(alert, now), closing=closing.value)
