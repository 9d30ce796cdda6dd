"""Authenticate API requests by bearer token. A token's prefix shows the kind of caller."""

from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from core import clock
from tenants import tokens
from tenants.context import bind_caller, bind_tenant, every_tenant_scope
from tenants.models import ApiToken, IssuedToken, User
from tenants.suspension import require_active

USED_EVERY = timedelta(minutes=5)


class BearerAuthentication(BaseAuthentication):
    """Authenticate by `Authorization: Bearer <token>` (RFC 6750), for one kind of token."""

    prefix: ClassVar[str]

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        token = self.token_of(request)
        if token is None:
            return None
        with every_tenant_scope():  # the tenant is unknown until the token is found
            caller, credential, tenant_id = self.identify(token)
        require_active(tenant_id)
        bind_tenant(tenant_id)
        return caller, credential

    def token_of(self, request: Request) -> str | None:
        """Return the token of this kind that the request has, if it has one."""
        token = bearer_token(request)
        return token if token is not None and tokens.prefix_of(token) == self.prefix else None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="provisioning"'  # without this, DRF answers 403, not 401

    def identify(self, token: str) -> tuple[Any, Any, UUID | None]:
        """Return the caller, the credential and the tenant's id, and bind the caller.

        Raises:
            AuthenticationFailed: the token is unknown, revoked or expired.
            PermissionDenied: the tenant requires a second factor that the member does not have.
        """
        raise NotImplementedError


class MemberAuthentication(BearerAuthentication):
    """Authenticate a member by an API token (prefix `usr_`)."""

    prefix = ApiToken.prefix

    def identify(self, token: str) -> tuple[User, ApiToken, UUID | None]:
        row = (
            ApiToken.every_tenant.usable(clock.now())
            .select_related("membership__user__second_factor", "membership__tenant")
            .filter(digest=tokens.digest(token), membership__user__is_active=True)
            .first()
        )
        if row is None or not tokens.matches(token, row.digest):
            raise invalid_token()
        user = row.membership.user
        record_use(row)
        if row.membership.tenant.requires_second_factor and not user.has_second_factor:
            raise PermissionDenied(
                "This tenant requires a second factor, and the member has none. Set it up in"
                " the portal.",
                code="second_factor_required",
            )
        bind_caller("member", id=user.pk, name=user.email)
        return user, row, row.tenant_id


def record_use(token: IssuedToken) -> None:
    """Store when a token was last used, at most every few minutes."""
    now = clock.now()
    if token.last_used_at is None or token.last_used_at < now - USED_EVERY:
        type(token).every_tenant.filter(pk=token.pk).update(last_used_at=now)


def bearer_token(request: Request) -> str | None:
    """Return the bearer token of a request.

    Return None if there is no `Authorization` header or it has another scheme.

    Raises:
        AuthenticationFailed: the header contains no well-formed token.
    """
    scheme, *words = get_authorization_header(request).split()[:3] or [b""]
    if scheme.lower() != b"bearer":
        return None
    text = words[0].decode("latin-1") if len(words) == 1 else ""
    if tokens.prefix_of(text) is None:
        raise invalid_token()
    return text


def invalid_token() -> AuthenticationFailed:
    """Return the error for unknown, revoked and expired tokens. It does not say which."""
    return AuthenticationFailed("The token is not valid.", code="invalid_token")
