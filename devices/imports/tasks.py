"""Celery tasks of imports."""

from collections.abc import Callable
from datetime import timedelta

from celery import shared_task

from core import clock
from core.locks import try_session_lock
from devices.imports.services import imports, work
from tenants.context import every_tenant_scope

MAX_RUN = timedelta(seconds=45)  # then the task ends; Celery beat starts it again
SLICE = timedelta(seconds=10)  # then the next tenant has its turn
IMPORTS_LOCK = 7_205_759_411  # advisory lock number


@shared_task(ignore_result=True)
def run_imports() -> int:
    """Check and import the rows of unfinished imports. Return the number of slices.

    Only one process runs this task at a time, so that imports never occupy all workers. Imports
    that start meanwhile are not lost, because the process looks for work again after it has
    released its lock.
    """
    started_at, slices = clock.now(), 0
    with every_tenant_scope():
        while work.any_unfinished() and clock.now() - started_at < MAX_RUN:
            with try_session_lock(IMPORTS_LOCK) as is_locked:
                if not is_locked:
                    break
                while clock.now() - started_at < MAX_RUN:
                    if not work.next_slice(now=clock.now, time_is_up=_timer(SLICE)):
                        break
                    slices += 1
    return slices


def _timer(duration: timedelta) -> Callable[[], bool]:
    """Return a function that tells whether the duration, from now on, is over."""
    began = clock.now()
    return lambda: clock.now() - began > duration


@shared_task(ignore_result=True)
def delete_old_imports() -> int:
    """Delete the rows of old imports. Return their number."""
    with every_tenant_scope():
        return imports.delete_old(now=clock.now())
