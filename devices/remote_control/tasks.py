"""Celery's doors to remote control."""

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from devices.remote_control import bulk, commands, history, screenshots, sessions
from tenants.context import every_tenant_scope

LONGEST_RUN = timedelta(seconds=45)  # then beat sends it again


@shared_task(ignore_result=True)
def work_bulk_commands() -> int:
    """Command the devices of what was asked for; return how many batches were done."""
    begun, batches = timezone.now(), 0
    with every_tenant_scope():
        while timezone.now() - begun < LONGEST_RUN and bulk.work(now=timezone.now()):
            batches += 1
    return batches


@shared_task(ignore_result=True)
def end_overdue() -> int:
    """End commands, sessions and requests whose time is over; return how many."""
    with every_tenant_scope():
        now = timezone.now()
        return (
            commands.expire_overdue(now=now)
            + sessions.end_over(now=now)
            + bulk.lapse(now=now)
        )


@shared_task(ignore_result=True)
def drop_outlived() -> int:
    """Drop old pictures and old commands; return how many."""
    with every_tenant_scope():
        now = timezone.now()
        pictures = now - timedelta(days=settings.SCREENSHOT_RETENTION_DAYS)
        commanded = now - timedelta(days=settings.COMMAND_RETENTION_DAYS)
        return screenshots.drop_outlived(before=pictures) + history.drop_outlived(
            before=commanded
        )
