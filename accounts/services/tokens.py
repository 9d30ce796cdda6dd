"""Issue and revoke tokens. Only the hash of a token is stored."""

from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import transaction

from accounts.errors import SecondFactorRequired
from accounts.events import (
    ApiTokenIssued,
    ApiTokenRevoked,
    EnrollmentTokenIssued,
    EnrollmentTokenRevoked,
    GatewayTokenIssued,
    GatewayTokenRevoked,
    TokenEvent,
)
from events.services.outbox import record
from tenants import tokens
from tenants.models import ApiToken, IssuedToken, Membership

T = TypeVar("T", bound=IssuedToken)

# Events of issuing and revoking, by kind of token.
_EVENTS: dict[str, tuple[type[TokenEvent], type[TokenEvent]]] = {
    "api_token": (ApiTokenIssued, ApiTokenRevoked),
    "enrollment_token": (EnrollmentTokenIssued, EnrollmentTokenRevoked),
    "gateway_token": (GatewayTokenIssued, GatewayTokenRevoked),
}


@transaction.atomic
def issue_token(model: type[T], *, now: datetime, **fields: object) -> tuple[T, str]:
    """Create a token of the given kind.

    Args:
        model: the kind of token.
        now: current time.
        fields: other fields of the token's row.

    Returns:
        The row and the token. The token itself is not stored.
    """
    token = tokens.make(model.prefix)
    row = model(digest=tokens.digest(token), hint=tokens.hint(token), created_at=now, **fields)
    row.save(force_insert=True)
    issued, _ = _EVENTS[model.noun]
    record([issued(**_event_fields(row, now))])
    return row, token


def issue_api_token(
    *, membership: Membership, name: str, now: datetime, lifetime: timedelta | None = None
) -> tuple[ApiToken, str]:
    """Create an API token (prefix `usr_`) for a member.

    Args:
        lifetime: None for a token that is valid until it is revoked.

    Returns:
        The row and the token. The token itself is not stored.

    Raises:
        SecondFactorRequired: the tenant requires a second factor that the member does not have.
    """
    if membership.tenant.requires_second_factor and not membership.user.has_second_factor:
        raise SecondFactorRequired
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
    """Revoke a token at once. If the token is already revoked, do nothing."""
    unrevoked = type(token).every_tenant.filter(pk=token.pk, revoked_at__isnull=True)
    if unrevoked.update(revoked_at=now):
        _, revoked = _EVENTS[token.noun]
        record([revoked(**_event_fields(token, now))])


def _event_fields(row: IssuedToken, now: datetime) -> dict[str, Any]:
    fields = {"tenant_id": row.tenant_id, "at": now, "token_name": row.name, "hint": row.hint}
    if isinstance(row, ApiToken):  # the caller of the event is who issued or revoked it
        fields["email"] = row.membership.user.email
    return fields
