"""Evaluate rules in tests."""

from datetime import datetime

from devices.monitoring.services import evaluation
from devices.monitoring.services.evaluation import EvaluationResult
from tenants.models import Tenant


def evaluate(tenant: Tenant, now: datetime) -> EvaluationResult:
    """Evaluate the rules once, as the workers do."""
    return evaluation.evaluate_all(now=now)
