"""When a device should fetch or ask for its next certificate, and why (RFC 9773 §4)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from certificates.models import DeviceCertificate
from certificates.models.campaign import position
from certificates.services import renewal_campaigns
from devices.registry.models import Device, NextSteps

SPREAD = timedelta(days=2)  # over which the windows of one day's certificates lie
LENGTH = timedelta(days=1)
MOMENT = timedelta(seconds=1)  # a window has a length
ASK_AGAIN_AFTER = 6 * 3600  # s; so soon a pulled forward window is seen


@dataclass(frozen=True, slots=True)
class Window:
    """From when till when to renew; `reason` is `expiry`, or why it is earlier."""

    start: datetime
    end: datetime
    reason: str


def window_of(certificate: DeviceCertificate, *, now: datetime) -> Window:
    """The window of one certificate; that of one that is over lies in the past."""
    assert certificate.not_after is not None
    if certificate.revoked_at is not None:
        return _moment(certificate.revoked_at, "revoked")
    if certificate.status == DeviceCertificate.Status.SUPERSEDED:
        return _moment(certificate.reserved_at, "superseded")
    if certificate.handover_until is not None:
        return _moment(certificate.reserved_at, "superseded")
    device = Device.every_tenant.get(pk=certificate.device_id)
    renewal = certificate.not_after - timedelta(days=settings.AUTO_RENEWAL_DAYS)
    pulled = renewal_campaigns.turn_of(
        device,
        serial_number=certificate.serial_number,
        issued_at=certificate.issued_at,
        now=now,
    )
    return _window(certificate.serial_number, renewal, pulled)


def tell_the_window(
    device: Device, steps: NextSteps | None, now: datetime
) -> dict[str, Any]:
    """The same in the answer of `connect`, from what is in hand there."""
    if steps is None or steps.certificate_renewal_due_at is None:
        return {"certificate_renewal": None}
    serial_number = steps.certificate_serial_number or "1"
    pulled = renewal_campaigns.turn_of(
        device,
        serial_number=serial_number,
        issued_at=steps.certificate_issued_at,
        now=now,
    )
    window = _window(serial_number, steps.certificate_renewal_due_at, pulled)
    told: dict[str, Any] = {
        "certificate_renewal": {
            "start": window.start.isoformat().replace("+00:00", "Z"),
            "end": window.end.isoformat().replace("+00:00", "Z"),
            "reason": window.reason,
        }
    }
    if window.start <= now:
        told["certificate_renewal_due"] = True
    return told


def _window(
    serial_number: str, renewal: datetime, pulled: tuple[datetime, str] | None
) -> Window:
    """Before the day on which the server renews by itself, each at its own time."""
    jitter = SPREAD * (1 - position(serial_number))
    start, reason = renewal - LENGTH - jitter, "expiry"
    if pulled is not None and pulled[0] < start:
        start, reason = pulled
    return Window(start, start + LENGTH, reason)


def _moment(at: datetime, reason: str) -> Window:
    return Window(at, at + MOMENT, reason)
