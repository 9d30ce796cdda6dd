"""Celery tasks of software updates."""

from datetime import timedelta

from celery import shared_task

from core import clock, uploads
from devices.updates.services import package_hashes, packages, rollout_tick
from tenants.context import every_tenant_scope

MAX_DURATION = timedelta(seconds=45)  # of one run; Celery beat starts the task again
MIN_ORPHAN_AGE = timedelta(days=1)  # no upload takes that long


@shared_task(ignore_result=True)
def advance_rollouts() -> int:
    """Run the due steps of all rollouts. Return how many steps were run.

    Several workers can run this task in parallel, because each worker locks a different rollout.
    """
    started, steps = clock.now(), 0
    with every_tenant_scope():
        while clock.now() - started < MAX_DURATION:
            if not rollout_tick.advance_next_rollout(now=clock.now()):
                break
            steps += 1
    return steps


@shared_task(ignore_result=True)
def delete_orphaned_files() -> int:
    """Delete files that interrupted uploads left behind. Return the number of files."""
    with every_tenant_scope():
        before = clock.now() - MIN_ORPHAN_AGE
        return packages.delete_orphaned_files(before=before) + uploads.delete_leftover_files(
            before=before
        )


@shared_task(ignore_result=True)
def compute_missing_hashes() -> int:
    """Compute the hashes that packages of earlier releases lack. Return how many packages."""
    started = clock.now()
    with every_tenant_scope():
        return package_hashes.compute_missing(
            time_is_up=lambda: clock.now() - started > MAX_DURATION
        )
