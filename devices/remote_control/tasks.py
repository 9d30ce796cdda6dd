"""Celery's doors to remote control."""

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from core.locks import alone
from devices.remote_control.services import (
    bulk_commands,
    command_expiry,
    retention,
    screenshots,
    sessions,
)
from tenants.context import every_tenant_scope

LONGEST_RUN = timedelta(seconds=45)  # then beat sends it again
BULK_COMMANDS = 7_205_759_409  # the lock


@shared_task(ignore_result=True)
def run_bulk_commands() -> int:
    """Command the devices of what was asked for; return how many batches were done.

    One process at a time, so that large ones never keep all workers busy. Who is told
    while another works leaves it to that one, which looks once more before it goes.
    """
    begun, batches = timezone.now(), 0
    with every_tenant_scope():
        while bulk_commands.is_running() and timezone.now() - begun < LONGEST_RUN:
            with alone(BULK_COMMANDS) as mine:
                if not mine:
                    break
                while timezone.now() - begun < LONGEST_RUN:
                    if not bulk_commands.work(now=timezone.now()):
                        break
                    batches += 1
    return batches


@shared_task(ignore_result=True)
def expire_commands_and_sessions() -> int:
    """End commands, sessions and requests whose time is over; return how many."""
    with every_tenant_scope():
        now = timezone.now()
        return (
            sessions.end_over(now=now)
            + bulk_commands.lapse(now=now)
            + command_expiry.expire_overdue(now=now)
        )


@shared_task(ignore_result=True)
def delete_expired() -> int:
    """Drop old pictures and old commands; return how many."""
    with every_tenant_scope():
        now = timezone.now()
        pictures = now - timedelta(days=settings.SCREENSHOT_RETENTION_DAYS)
        commanded = now - timedelta(days=settings.COMMAND_RETENTION_DAYS)
        return screenshots.drop_outlived(before=pictures) + retention.drop_outlived(
            before=commanded
        )
