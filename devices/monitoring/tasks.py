"""Celery tasks that evaluate monitoring rules."""

import logging
import random
from collections import defaultdict
from datetime import datetime, timedelta
from uuid import UUID

from celery import shared_task

from core import clock
from devices.monitoring.services import evaluation
from devices.monitoring.services.rule_selection import Needs, select_rules
from devices.registry.models import Device
from tenants.context import SYSTEM, caller_scope, every_tenant_scope, tenant_scope

LATE = timedelta(seconds=55)  # then the next evaluation of the tenant is queued

logger = logging.getLogger(__name__)


@shared_task(ignore_result=True)
def evaluate_rules() -> int:
    """Queue an evaluation for each tenant with something to evaluate. Return the tenant count."""
    now = clock.now()
    with every_tenant_scope():
        selected = list(select_rules(now=now).items())
    # If the workers are too slow for all, it is not always the same tenants that wait.
    random.shuffle(selected)
    for tenant_id, needs in selected:
        rules = {str(pk): [rule.alerts, rule.violations] for pk, rule in needs.items()}
        evaluate_tenant.delay(str(tenant_id), rules, now.isoformat())
    return len(selected)


@shared_task(ignore_result=True)
def evaluate_tenant(
    tenant_id: str, rules: dict[str, list[bool]] | None = None, queued_at: str | None = None
) -> str:
    """Evaluate rules of a tenant once.

    Args:
        rules: the values of `Needs` by rule; None for all rules.
        queued_at: time of the selection. An evaluation that is late is left out, since the next
            one is queued already.
    """
    now = clock.now()
    if queued_at is not None and now - datetime.fromisoformat(queued_at) > LATE:
        logger.warning("The workers are too slow: rules were not evaluated in time")
        return "late"
    needs = None if rules is None else {UUID(pk): Needs(*values) for pk, values in rules.items()}
    with tenant_scope(UUID(tenant_id)), caller_scope(SYSTEM):
        return str(evaluation.evaluate_all(now=now, needs=needs))


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
