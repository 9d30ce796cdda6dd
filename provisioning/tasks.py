"""Celery tasks that concern several packages."""

from datetime import timedelta

from celery import shared_task

from certificates.services import forgetting
from core import clock
from provisioning import tenant_deletion
from provisioning.reports import weekly
from tenants.context import every_tenant_scope

LONGEST_DELETION = timedelta(minutes=2)  # the next run continues


@shared_task(ignore_result=True)
def send_weekly_reports() -> int:
    """Mail the weekly reports that are due. Return the number of mails."""
    with every_tenant_scope():
        return weekly.send_due(now=clock.now())


@shared_task(ignore_result=True)
def delete_due_tenants() -> int:
    """Delete the tenants whose waiting time is over. Return how many were deleted."""
    now = clock.now()
    forgetting.delete_old(now=now)
    return tenant_deletion.delete_due(
        now=now, time_is_up=lambda: clock.now() - now > LONGEST_DELETION
    )
