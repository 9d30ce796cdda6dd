"""Celery's door to what people leave behind."""

from celery import shared_task
from django.core.management import call_command


@shared_task(ignore_result=True)
def clear_sessions() -> None:
    """Forget the portal's sessions that have ended."""
    call_command("clearsessions")
