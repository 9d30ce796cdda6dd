"""Celery tasks of remote control."""

from datetime import timedelta

from celery import shared_task
from django.conf import settings

from core import clock
from core.locks import try_session_lock
from devices.remote_control.services import (
    bulk_commands,
    command_expiry,
    retention,
    scheduled_screenshots,
    screenshots,
    sessions,
)
from tenants.context import every_tenant_scope

MAX_RUN = timedelta(seconds=45)  # then the task ends; Celery beat starts it again
BULK_COMMANDS_LOCK = 7_205_759_409  # advisory lock number


@shared_task(ignore_result=True)
def run_bulk_commands() -> int:
    """Issue the commands of running bulk commands. Return the number of processed batches.

    Only one process runs this task at a time, so that large bulk commands never occupy all
    workers. Other processes return at once. Bulk commands that start meanwhile are not
    lost, because the process checks for work again after it has released its lock.
    """
    started_at, batches = clock.now(), 0
    with every_tenant_scope():
        while bulk_commands.any_running() and clock.now() - started_at < MAX_RUN:
            with try_session_lock(BULK_COMMANDS_LOCK) as is_locked:
                if not is_locked:
                    break
                while clock.now() - started_at < MAX_RUN:
                    if not bulk_commands.process_next_batch(now=clock.now()):
                        break
                    batches += 1
    return batches


@shared_task(ignore_result=True)
def expire_commands_and_sessions() -> int:
    """End overdue commands, expired sessions and unconfirmed bulk commands.

    Return how many commands, sessions and bulk commands were ended.
    """
    with every_tenant_scope():
        now = clock.now()
        return (
            sessions.end_expired(now=now)
            + bulk_commands.lapse_unconfirmed(now=now)
            + command_expiry.expire_overdue(now=now)
        )


@shared_task(ignore_result=True)
def take_scheduled_screenshots() -> int:
    """Request the scheduled screenshots of this minute. Return their number."""
    with every_tenant_scope():
        return scheduled_screenshots.issue_due(now=clock.now())


@shared_task(ignore_result=True)
def delete_expired() -> int:
    """Delete screenshots and history after their retention time.

    Return the number of deleted rows.
    """
    with every_tenant_scope():
        now = clock.now()
        screenshot_limit = now - timedelta(days=settings.SCREENSHOT_RETENTION_DAYS)
        command_limit = now - timedelta(days=settings.COMMAND_RETENTION_DAYS)
        return screenshots.delete_old(before=screenshot_limit) + retention.delete_old(
            before=command_limit
        )
