"""Celery tasks that concern several packages."""

from celery import shared_task

from core import clock
from provisioning.reports import weekly
from tenants.context import every_tenant_scope


@shared_task(ignore_result=True)
def send_weekly_reports() -> int:
    """Mail the weekly reports that are due. Return the number of mails."""
    with every_tenant_scope():
        return weekly.send_due(now=clock.now())
