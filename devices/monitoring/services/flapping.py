"""Reopen alerts whose cause returns soon, so that a flapping device has one alert that counts."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from devices.monitoring.models import Alert, MonitoringRule

MINIMUM_PERIOD = timedelta(minutes=15)


def reopening_period(rule: MonitoringRule) -> timedelta:
    """Return how long after its closing an alert of the rule is reopened if its cause returns."""
    return max(MINIMUM_PERIOD, timedelta(seconds=rule.cool_down_seconds))


def lock_alerts_to_reopen(
    rule: MonitoringRule, device_ids: Iterable[UUID | None], *, now: datetime
) -> list[Alert]:
    """Lock and return the devices' last alerts of a rule that are to be reopened.

    An alert is reopened if it closed within the reopening period because its cause was gone.
    An alert that a member closed is not reopened: the member is done with it.
    """
    recent_alerts = (
        Alert.objects.select_for_update(of=("self",))
        .filter(rule=rule, device__in=device_ids, settled_at__isnull=False)
        .filter(closed_at__gt=now - reopening_period(rule))
        .order_by("pk")
    )
    last_alerts: dict[UUID | None, Alert] = {}
    for alert in sorted(recent_alerts, key=lambda alert: alert.opened_at):
        last_alerts[alert.device_id] = alert
    return [alert for alert in last_alerts.values() if alert.closing == Alert.Closing.CAUSE_GONE]
