"""Issue and revoke tokens. Only a hash of each is stored."""

from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import transaction

from accounts.events import (
    ApiTokenIssued,
    ApiTokenRevoked,
    EnrollmentTokenIssued,
    EnrollmentTokenRevoked,
    TokenEvent,
)
from events.services.outbox import record
from tenants import tokens
from tenants.models import ApiToken, IssuedToken, Membership

T = TypeVar("T", bound=IssuedToken)

_EVENTS: dict[str, tuple[type[TokenEvent], type[TokenEvent]]] = {
    "api_token": (ApiTokenIssued, ApiTokenRevoked),
    "enrollment_token": (EnrollmentTokenIssued, EnrollmentTokenRevoked),
}


@transaction.atomic
def issue_token(model: type[T], *, now: datetime, **fields: object) -> tuple[T, str]:
    """A row for a new token of this kind, and the token, which is not kept."""
    token = tokens.make(model.prefix)
    row = model(
        digest=tokens.digest(token), hint=tokens.hint(token), created_at=now, **fields
    )
    row.save(force_insert=True)
    issued, _ = _EVENTS[model.noun]
    record([issued(**_about(row, now))])
    return row, token


def issue_api_token(
    *,
    membership: Membership,
    name: str,
    now: datetime,
    lifetime: timedelta | None = None,
) -> tuple[ApiToken, str]:
    """A new `usr_` token for a member; `lifetime` None means until it is revoked."""
    return issue_token(
        ApiToken,
        now=now,
        name=name,
        membership=membership,
        tenant_id=membership.tenant_id,
        expires_at=None if lifetime is None else now + lifetime,
    )


@transaction.atomic
def revoke_token(token: IssuedToken, *, now: datetime) -> None:
    """Revoke a token at once. Revoking it again changes nothing."""
    valid = type(token).every_tenant.filter(pk=token.pk, revoked_at__isnull=True)
    if valid.update(revoked_at=now):
        _, revoked = _EVENTS[token.noun]
        record([revoked(**_about(token, now))])


def _about(row: IssuedToken, now: datetime) -> dict[str, Any]:
    return {
        "tenant_id": row.tenant_id,
        "at": now,
        "token_name": row.name,
        "hint": row.hint,
    }
