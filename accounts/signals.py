"""Record sign-ins to the portal in the audit log."""

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.db import transaction
from django.dispatch import receiver
from django.http import HttpRequest

from accounts.events import PersonEvent, SignedIn, SignInFailed
from core import clock
from events.services.outbox import record
from tenants.context import bind_caller
from tenants.models import User


def submitted_email(request: HttpRequest, credentials: Mapping[str, Any] | None) -> str:
    """Return the normalised e-mail address of a sign-in attempt."""
    data = credentials or request.POST
    return User.objects.normalize(str(data.get("username") or ""))[:254]


@receiver(user_logged_in, dispatch_uid="accounts.signed_in")
def record_sign_in(user: User, **kwargs: Any) -> None:
    bind_caller("member", id=user.pk, name=user.email)
    _record(SignedIn, user.email)


@receiver(user_login_failed, dispatch_uid="accounts.sign_in_failed")
def record_failed_sign_in(credentials: Mapping[str, Any], request: Any, **kwargs: Any) -> None:
    if request is not None:
        _record(SignInFailed, submitted_email(request, credentials))


@transaction.atomic
def _record(kind: type[PersonEvent], email: str) -> None:
    record([kind(tenant_id=None, at=clock.now(), email=email)])
