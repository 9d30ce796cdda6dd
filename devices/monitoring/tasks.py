"""Celery tasks that evaluate monitoring rules."""

from collections import defaultdict
from uuid import UUID

from celery import shared_task

from core import clock
from devices.monitoring.models import Alert, MonitoringRule
from devices.monitoring.services import evaluation
from devices.registry.models import Device
from tenants.context import SYSTEM, caller_scope, every_tenant_scope, tenant_scope

EXPIRES = 55  # seconds; the next evaluation is queued after that


@shared_task(ignore_result=True)
def evaluate_rules() -> int:
    """Queue an evaluation for each tenant with rules or alerts. Return the tenant count."""
    with every_tenant_scope():
        rules = MonitoringRule.every_tenant.order_by()
        alerts = Alert.every_tenant.unsettled().order_by()
        tenants = set(rules.values_list("tenant_id", flat=True).distinct())
        tenants |= set(alerts.values_list("tenant_id", flat=True).distinct())
    for tenant_id in tenants:
        evaluate_tenant.apply_async((str(tenant_id),), expires=EXPIRES)
    return len(tenants)


@shared_task(ignore_result=True)
def evaluate_tenant(tenant_id: str) -> str:
    """Evaluate all rules of a tenant once."""
    with tenant_scope(UUID(tenant_id)), caller_scope(SYSTEM):
        return str(evaluation.evaluate_all(now=clock.now()))


@shared_task(ignore_result=True)
def evaluate_devices(device_ids: list[str]) -> str:
    """Evaluate the metric rules for devices that have just reported samples."""
    ids_by_tenant: defaultdict[UUID, list[UUID]] = defaultdict(list)
    with every_tenant_scope():
        devices = Device.every_tenant.filter(pk__in=device_ids)
        for device_id, tenant_id in devices.values_list("pk", "tenant_id"):
            ids_by_tenant[tenant_id].append(device_id)
    total = evaluation.EvaluationResult()
    for tenant_id, ids in ids_by_tenant.items():
        with tenant_scope(tenant_id), caller_scope(SYSTEM):
            total += evaluation.evaluate_all(now=clock.now(), device_ids=ids)
    return str(total)
