"""Celery's doors to software updates."""

from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from core import uploads
from devices.updates.services import packages, rollout_tick
from tenants.context import every_tenant_scope

LONGEST_RUN = timedelta(seconds=45)  # then beat sends it again
LEFT_BEHIND = timedelta(days=1)  # after which a file belongs to nobody for certain


@shared_task(ignore_result=True)
def advance_rollouts() -> int:
    """Do what is due of all rollouts; return how many steps that were.

    Several workers do so side by side: each takes another rollout.
    """
    begun, steps = timezone.now(), 0
    with every_tenant_scope():
        while timezone.now() - begun < LONGEST_RUN:
            if not rollout_tick.tick(now=timezone.now()):
                break
            steps += 1
    return steps


@shared_task(ignore_result=True)
def delete_orphaned_files() -> int:
    """Drop files that were left behind by who was killed; return how many."""
    with every_tenant_scope():
        before = timezone.now() - LEFT_BEHIND
        return packages.drop_orphans(before=before) + uploads.drop_left(before=before)
