"""Celery tasks of the accounts."""

from celery import shared_task
from django.core.management import call_command


@shared_task(ignore_result=True)
def clear_sessions() -> None:
    """Delete expired sessions of the portal."""
    call_command("clearsessions")
