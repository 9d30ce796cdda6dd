"""Issue and find `gwt_` tokens."""

from datetime import datetime, timedelta

from accounts.services.tokens import issue_token
from devices.hawkbit.errors import InvalidGatewayToken
from devices.hawkbit.models import GatewayToken
from devices.registry.services.credentials import MAX_LIFETIME

MAX_NAME_LENGTH = 120


def create_gateway_token(
    *, name: str, registers_devices: bool = False, lifetime: timedelta | None = None, now: datetime
) -> tuple[GatewayToken, str]:
    """Create a token of the current tenant. Return its row, and the token, which is not stored.

    Args:
        registers_devices: whether the first poll of an unknown device registers it.
        lifetime: the time until the token expires; None if it never expires.

    Raises:
        InvalidGatewayToken: a value is out of range.
    """
    if not 0 < len(name) <= MAX_NAME_LENGTH:
        sentence = f"A name has 1 to {MAX_NAME_LENGTH} characters."
        raise InvalidGatewayToken(sentence, field="name")
    if lifetime is not None and not timedelta(0) < lifetime <= MAX_LIFETIME:
        sentence = "The expiry must be in the future, and at most 100 years away."
        raise InvalidGatewayToken(sentence, field="expires_at")
    return issue_token(
        GatewayToken,
        now=now,
        name=name,
        registers_devices=registers_devices,
        expires_at=None if lifetime is None else now + lifetime,
    )


def find_gateway_token(digest: str, *, now: datetime) -> GatewayToken | None:
    """Return the usable token of any tenant with this digest."""
    return GatewayToken.every_tenant.usable(now).filter(digest=digest).first()
