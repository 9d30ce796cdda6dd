"""Tokens of the registry: enrollment tokens, and the one token of each device."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F

from accounts.services.tokens import issue_token
from devices.registry.errors import EnrollmentTokenUsedUp, InvalidEnrollmentToken
from devices.registry.events import DeviceTokenIssued
from devices.registry.models import Device, DeviceToken, EnrollmentToken, Reregistering
from devices.registry.queries import hold
from events.services.outbox import record
from tenants import tokens

MOST_USES = 2_000_000_000
LONGEST_LIFETIME = timedelta(days=36_525)


def create_enrollment_token(
    *,
    name: str,
    now: datetime,
    max_uses: int | None = None,
    lifetime: timedelta | None = None,
    reregistration: str = Reregistering.ROTATE,
) -> tuple[EnrollmentToken, str]:
    """A new `enr_` token of the current tenant.

    Args:
        max_uses: how many devices it may bring in; None for any number. A known box
            that registers again is not counted.
        lifetime: None until it is revoked.
        reregistration: what comes of a known box; see `Reregistering`.

    Raises:
        InvalidEnrollmentToken: a limit is not positive.
    """
    if max_uses is not None and not 1 <= max_uses <= MOST_USES:
        raise InvalidEnrollmentToken(
            f"Between 1 and {MOST_USES:,} uses.", field="max_uses"
        )
    if lifetime is not None and lifetime <= timedelta(0):
        raise InvalidEnrollmentToken("It would be expired.", field="expires_at")
    if lifetime is not None and lifetime > LONGEST_LIFETIME:
        raise InvalidEnrollmentToken("At most a hundred years.", field="expires_at")
    if not 0 < len(name) <= 120:
        raise InvalidEnrollmentToken("A name has 1 to 120 characters.", field="name")
    if reregistration not in Reregistering.values:
        raise InvalidEnrollmentToken(
            f"One of {', '.join(Reregistering.values)}.", field="reregistration"
        )
    return issue_token(
        EnrollmentToken,
        now=now,
        name=name,
        max_uses=max_uses,
        reregistration=reregistration,
        expires_at=None if lifetime is None else now + lifetime,
    )


def spend(token: EnrollmentToken) -> None:
    """Count one use of a limited token, in the transaction of the registration.

    Raises:
        EnrollmentTokenUsedUp: no use is left.
    """
    if token.max_uses is None:
        return  # a counter on one row would make all registrations wait in line
    spent = EnrollmentToken.objects.filter(pk=token.pk, uses__lt=F("max_uses"))
    if spent.update(uses=F("uses") + 1) == 0:
        raise EnrollmentTokenUsedUp("The enrollment token has no use left.")


def give_back(token: EnrollmentToken) -> None:
    """A use that came to nothing does not count."""
    if token.max_uses is not None:
        spent = EnrollmentToken.objects.filter(pk=token.pk, uses__gt=0)
        spent.update(uses=F("uses") - 1)


def renew_device_token(device: Device, *, now: datetime) -> str:
    """A fresh token for a device; the one before is void at once."""
    token = tokens.make(DeviceToken.prefix)
    DeviceToken.objects.bulk_create(
        [DeviceToken(device=device, digest=tokens.digest(token), issued_at=now)],
        update_conflicts=True,
        unique_fields=["device"],
        update_fields=["digest", "issued_at"],
    )
    return token


@transaction.atomic
def issue_device_token(device: Device, *, now: datetime) -> str:
    """A fresh token at a member's request.

    Raises:
        DeviceIsRetired: a retired device gets nothing.
    """
    held = hold(device.pk)
    token = renew_device_token(device, now=now)
    record([DeviceTokenIssued(tenant_id=held.tenant_id, device_id=held.pk, at=now)])
    return token
