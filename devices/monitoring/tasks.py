"""Celery's doors to the monitoring."""

from collections import defaultdict
from uuid import UUID

from celery import shared_task
from django.utils import timezone

from devices.monitoring.models import Alert, MonitoringRule
from devices.monitoring.services import evaluation
from devices.registry.models import Device
from tenants.context import SYSTEM, caller_scope, every_tenant_scope, tenant_scope

SUPERSEDED = 55  # seconds; then the next pass has been sent


@shared_task(ignore_result=True)
def evaluate_rules() -> int:
    """One pass over every tenant's rules, a task for each tenant; return how many."""
    with every_tenant_scope():
        rules = MonitoringRule.every_tenant.order_by()
        alerts = Alert.every_tenant.unsettled().order_by()
        tenants = set(rules.values_list("tenant_id", flat=True).distinct())
        tenants |= set(alerts.values_list("tenant_id", flat=True).distinct())
    for tenant_id in tenants:
        evaluate_tenant.apply_async((str(tenant_id),), expires=SUPERSEDED)
    return len(tenants)


@shared_task(ignore_result=True)
def evaluate_tenant(tenant_id: str) -> str:
    """One pass over a tenant's rules."""
    with tenant_scope(UUID(tenant_id)), caller_scope(SYSTEM):
        return str(evaluation.evaluate_all(now=timezone.now()))


@shared_task(ignore_result=True)
def evaluate_devices(device_ids: list[str]) -> str:
    """What some devices have just said, by the rules on metrics of their tenants."""
    of_tenant: defaultdict[UUID, list[UUID]] = defaultdict(list)
    with every_tenant_scope():
        found = Device.every_tenant.filter(pk__in=device_ids)
        for device_id, tenant_id in found.values_list("pk", "tenant_id"):
            of_tenant[tenant_id].append(device_id)
    total = evaluation.Evaluated()
    for tenant_id, chosen in of_tenant.items():
        with tenant_scope(tenant_id), caller_scope(SYSTEM):
            total += evaluation.evaluate_all(now=timezone.now(), device_ids=chosen)
    return str(total)
