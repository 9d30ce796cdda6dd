"""Reopen alerts whose cause returns soon, so that a flapping device has one alert that counts."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from devices.monitoring.models import Alert, MonitoringRule

MINIMUM_PERIOD = timedelta(minutes=15)


def reopening_period(rule: MonitoringRule) -> timedelta:
    """Return how long after its closing an alert of the rule is reopened if its cause returns."""
    return max(MINIMUM_PERIOD, timedelta(seconds=rule.cool_down_seconds))


def lock_alerts_to_reopen(
    rules: Mapping[UUID, MonitoringRule], causes: Collection[tuple[UUID, UUID]], *, now: datetime
) -> list[Alert]:
    """Lock and return the last alerts of rules for devices, if they are to be reopened.

    An alert is reopened if it closed within the reopening period because its cause was gone.
    An alert that a member closed is not reopened: the member is done with it.

    Args:
        rules: the rules by id, of one or more tenants.
        causes: pairs of the id of a rule and of a device.
    """
    periods = {rule_id: reopening_period(rules[rule_id]) for rule_id, _ in causes}
    closed = Alert.every_tenant.filter(
        rule__in=periods,
        device__in={device_id for _, device_id in causes},
        settled_at__isnull=False,
        closed_at__gt=now - max(periods.values(), default=MINIMUM_PERIOD),
    )
    last_alerts = {}
    rows: Iterable[Any] = closed.order_by("opened_at").values_list(
        "rule", "device", "closed_at", "closing", "pk"
    )
    for rule_id, device_id, closed_at, closing, pk in rows:
        if (rule_id, device_id) in causes and closed_at > now - periods[rule_id]:
            last_alerts[rule_id, device_id] = (closing, pk)
    ids = [pk for closing, pk in last_alerts.values() if closing == Alert.Closing.CAUSE_GONE]
    alerts = Alert.every_tenant.filter(pk__in=ids, settled_at__isnull=False).order_by("pk")
    return list(alerts.select_for_update(of=("self",)))
