"""Celery tasks of bulk operations."""

from datetime import timedelta

from celery import shared_task

from core import clock
from core.locks import try_session_lock
from devices.bulk.services import operations
from tenants.context import every_tenant_scope

MAX_RUN = timedelta(seconds=45)  # then the task ends; Celery beat starts it again
BULK_OPERATIONS_LOCK = 7_205_759_412  # advisory lock number


@shared_task(ignore_result=True)
def run_bulk_operations() -> int:
    """Continue running bulk operations. Return the number of processed batches.

    Only one process runs this task at a time, so that large operations never occupy all workers.
    Operations that start meanwhile are not lost, because the process looks for work again
    after it has released its lock.
    """
    started_at, batches = clock.now(), 0
    with every_tenant_scope():
        while operations.any_running() and clock.now() - started_at < MAX_RUN:
            with try_session_lock(BULK_OPERATIONS_LOCK) as is_locked:
                if not is_locked:
                    break
                while clock.now() - started_at < MAX_RUN:
                    if not operations.process_next_batch(now=clock.now()):
                        break
                    batches += 1
    return batches


@shared_task(ignore_result=True)
def delete_old_bulk_operations() -> int:
    """Delete operations that ended long ago. Return their number."""
    with every_tenant_scope():
        return operations.delete_old(now=clock.now())
