"""Who signs in to the portal, told to the lock-out and to the audit log."""

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.http import HttpRequest
from django.utils import timezone

from tenants.context import bind_caller
from tenants.hooks import Happening, announce
from tenants.models import User


def account(request: HttpRequest, credentials: Mapping[str, Any] | None) -> str:
    """The account that somebody tries to enter, whatever its case."""
    said = credentials or request.POST
    return User.objects.normalize(str(said.get("username") or ""))[:254]


def _signed_in(user: User, **kwargs: Any) -> None:
    bind_caller("member", id=user.pk, name=user.email)
    _announce("person.signed_in", user.email)


def _failed(credentials: Mapping[str, Any], request: Any, **kwargs: Any) -> None:
    if request is not None:
        _announce("person.sign_in_failed", account(request, credentials))


def _announce(name: str, email: str) -> None:
    data = {"email": email}
    announce(Happening(name=name, tenant_id=None, at=timezone.now(), data=data))


def hear_of_sign_ins() -> None:
    user_logged_in.connect(_signed_in, dispatch_uid="tenants.signed_in")
    user_login_failed.connect(_failed, dispatch_uid="tenants.sign_in_failed")
