"""Celery tasks of the accounts."""

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.core.management import call_command

from accounts.services import idempotency, password_reset, user_sessions
from core import clock
from tenants.context import every_tenant_scope


@shared_task(ignore_result=True)
def clear_sessions() -> None:
    """Delete expired sessions of the portal."""
    call_command("clearsessions")
    user_sessions.delete_old(before=clock.now() - timedelta(seconds=settings.SESSION_COOKIE_AGE))


@shared_task(ignore_result=True)
def send_password_reset(email: str) -> None:
    """Mail a link that sets a new password, if an account has the address."""
    password_reset.send_link(email)


@shared_task(ignore_result=True)
def delete_old_idempotent_requests() -> int:
    """Delete responses of requests with an `Idempotency-Key` that are older than a day."""
    with every_tenant_scope():
        return idempotency.delete_old(now=clock.now())
