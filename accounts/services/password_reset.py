"""Set a new password by a mailed link, or by the operator's command."""

import secrets
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.auth.tokens import default_token_generator
from django.core.mail import EmailMessage
from django.db import transaction
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from accounts.events import PasswordReset
from accounts.services import user_sessions
from events.services.outbox import record
from tenants.models import User


def send_link(email: str) -> bool:
    """Mail a link that sets a new password, if an active account has the address.

    Returns:
        Whether a mail was sent. It must not be shown to the person who asked.
    """
    user = User.objects.filter(email=User.objects.normalize(email), is_active=True).first()
    if user is None:
        return False
    path = reverse(
        "admin:password_reset_confirm",
        args=[
            urlsafe_base64_encode(force_bytes(user.pk)),
            default_token_generator.make_token(user),
        ],
    )
    minutes = settings.PASSWORD_RESET_TIMEOUT // 60
    EmailMessage(
        subject="Set a new password",
        body=f"Set a new password for {user.email}:\n\n{settings.PUBLIC_URL}{path}\n\nThe link is"
        f" valid for {minutes} minutes. If you did not ask for it, ignore this mail.",
        to=[user.email],
    ).send()
    return True


@transaction.atomic
def finish(*, user: User, now: datetime) -> None:
    """Record that a user has set a new password by a mailed link, and sign the user out."""
    User.objects.filter(pk=user.pk).update(address_proved=True)
    user_sessions.sign_out_everywhere(user=user, now=now)
    _record(user, now)


@transaction.atomic
def by_operator(*, user: User, now: datetime) -> str:
    """Set and return a random password, which the user must change at the next sign-in."""
    password = secrets.token_urlsafe(12)
    user.set_password(password)
    user.password_is_first = True
    user.save(update_fields=["password", "password_is_first"])
    user_sessions.sign_out_everywhere(user=user, now=now)
    _record(user, now)
    return password


def _record(user: User, now: datetime) -> None:
    fields: dict[str, Any] = {"tenant_id": None, "at": now, "email": user.email}
    record([PasswordReset(**fields)])
