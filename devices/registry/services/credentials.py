"""Issue enrollment tokens and device tokens."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F

from accounts.services.tokens import issue_token
from devices.registry.errors import EnrollmentTokenUsedUp, InvalidEnrollmentToken
from devices.registry.events import DeviceTokenIssued
from devices.registry.models import Device, DeviceToken, EnrollmentToken, ReregistrationPolicy, Site
from devices.registry.queries import lock_device
from devices.registry.services.clone_detection import remember_replaced_token
from devices.registry.services.sites import require_site
from devices.registry.services.tags import valid_names
from events.services.outbox import record
from tenants import tokens

MAX_USES = 2_000_000_000
MAX_LIFETIME = timedelta(days=36_525)


@transaction.atomic
def create_enrollment_token(
    *,
    name: str,
    now: datetime,
    max_uses: int | None = None,
    lifetime: timedelta | None = None,
    reregistration: str = ReregistrationPolicy.ROTATE,
    tags: Iterable[str] = (),
    site: Site | None = None,
) -> tuple[EnrollmentToken, str]:
    """Create an `enr_` token of the current tenant.

    Args:
        max_uses: number of new devices that may register with the token; None for any
            number. Devices that register again are not counted.
        lifetime: the time until the token expires; None if the token never expires.
        reregistration: the `ReregistrationPolicy` for devices that register again.
        tags: names of the tags that new devices get.
        site: the site at which new devices stand.

    Returns:
        The row of the token, and the token itself. The token itself is not stored.

    Raises:
        InvalidEnrollmentToken: a value is out of range.
        InvalidTag: a tag is not valid.
        InvalidSite: the site was deleted.
    """
    if max_uses is not None and not 1 <= max_uses <= MAX_USES:
        raise InvalidEnrollmentToken(
            f"The number of uses must be between 1 and {MAX_USES:,}.", field="max_uses"
        )
    if lifetime is not None and lifetime <= timedelta(0):
        raise InvalidEnrollmentToken("The expiry must be in the future.", field="expires_at")
    if lifetime is not None and lifetime > MAX_LIFETIME:
        raise InvalidEnrollmentToken("A token is valid for at most 100 years.", field="expires_at")
    if not 0 < len(name) <= 120:
        raise InvalidEnrollmentToken("A name has 1 to 120 characters.", field="name")
    if reregistration not in ReregistrationPolicy.values:
        raise InvalidEnrollmentToken(
            f"Accepted values: {', '.join(ReregistrationPolicy.values)}.", field="reregistration"
        )
    return issue_token(
        EnrollmentToken,
        now=now,
        name=name,
        max_uses=max_uses,
        reregistration=reregistration,
        tags=valid_names(tags),
        site=require_site(site),
        expires_at=None if lifetime is None else now + lifetime,
    )


def count_use(token: EnrollmentToken) -> None:
    """Count one use of an enrollment token with limited uses.

    Call the function in the transaction of the registration.

    Raises:
        EnrollmentTokenUsedUp: no use is left.
    """
    if token.max_uses is None:
        return  # counting would make all registrations wait for the lock of this row
    unspent = EnrollmentToken.objects.filter(pk=token.pk, uses__lt=F("max_uses"))
    if unspent.update(uses=F("uses") + 1) == 0:
        raise EnrollmentTokenUsedUp("The enrollment token has no uses left.")


def refund_use(token: EnrollmentToken) -> None:
    """Refund one use of an enrollment token with limited uses, after a failed registration."""
    if token.max_uses is not None:
        spent = EnrollmentToken.objects.filter(pk=token.pk, uses__gt=0)
        spent.update(uses=F("uses") - 1)


def first_device_token(device: Device, *, now: datetime) -> tuple[DeviceToken, str]:
    """Return the unsaved token of a new device, as a row and in clear."""
    token = tokens.make(DeviceToken.prefix)
    return DeviceToken(device=device, digest=tokens.digest(token), issued_at=now), token


def renew_device_token(device: Device, *, now: datetime) -> str:
    """Create a new device token and return it. The previous token is revoked immediately."""
    remember_replaced_token(device, now=now)
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
    """Create a new device token for a member, record an event and return the token.

    Raises:
        DeviceIsRetired: the device is retired.
    """
    device = lock_device(device.pk)
    token = renew_device_token(device, now=now)
    event = DeviceTokenIssued(tenant_id=device.tenant_id, device_id=device.pk, at=now)
    record([event])
    return token
