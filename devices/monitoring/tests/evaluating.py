"""Evaluate rules in tests."""

from datetime import datetime

from devices.monitoring.services import evaluation
from devices.monitoring.services.evaluation import EvaluationResult
from devices.monitoring.services.rule_selection import select_rules
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Tenant


def evaluate(tenant: Tenant, now: datetime) -> EvaluationResult:
    """Evaluate the tenant's rules once, as a worker does: those that the selection names."""
    with every_tenant_scope():
        selected = select_rules(now=now)
    if tenant.pk not in selected:
        return EvaluationResult()
    with tenant_scope(tenant.pk):
        return evaluation.evaluate_all(now=now, needs=selected[tenant.pk])
