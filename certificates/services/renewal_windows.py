"""Renewal windows: when a device should get its next certificate and why (RFC 9773 §4)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from certificates.models import DeviceCertificate
from certificates.models.campaign import serial_position
from certificates.services import renewal_campaigns
from core.times import utc_text
from devices.registry.models import Device, NextSteps

SPREAD = timedelta(days=2)  # windows of certificates issued together start within this time
LENGTH = timedelta(days=1)
IMMEDIATE = timedelta(seconds=1)  # length of a window in the past; it must not be 0
RETRY_AFTER = 6 * 3600  # seconds within which devices see a changed window


@dataclass(frozen=True, slots=True)
class Window:
    """A time span for a renewal. `reason` is `expiry`, or why the renewal is earlier."""

    start: datetime
    end: datetime
    reason: str


def window_of(certificate: DeviceCertificate, *, now: datetime) -> Window:
    """Return the renewal window of a certificate.

    The window is in the past if the certificate is revoked or has a successor.
    """
    assert certificate.not_after is not None
    if certificate.revoked_at is not None:
        return _past_window(certificate.revoked_at, "revoked")
    if certificate.status == DeviceCertificate.Status.SUPERSEDED:
        return _past_window(certificate.reserved_at, "superseded")
    if certificate.handover_until is not None:
        return _past_window(certificate.reserved_at, "superseded")
    device = Device.every_tenant.get(pk=certificate.device_id)
    due_at = certificate.not_after - timedelta(days=settings.AUTO_RENEWAL_DAYS)
    early = renewal_campaigns.early_renewal(
        device, serial_number=certificate.serial_number, issued_at=certificate.issued_at, now=now
    )
    return _window(certificate.serial_number, due_at, early)


def connect_response_fields(
    device: Device, steps: NextSteps | None, now: datetime
) -> dict[str, Any]:
    """Return the renewal window for the `connect` response, without a query."""
    if steps is None or steps.certificate_renewal_due_at is None:
        return {"certificate_renewal": None}
    serial_number = steps.certificate_serial_number or "1"
    early = renewal_campaigns.early_renewal(
        device, serial_number=serial_number, issued_at=steps.certificate_issued_at, now=now
    )
    window = _window(serial_number, steps.certificate_renewal_due_at, early)
    fields: dict[str, Any] = {
        "certificate_renewal": {
            "start": utc_text(window.start),
            "end": utc_text(window.end),
            "reason": window.reason,
        }
    }
    if window.start <= now:
        fields["certificate_renewal_due"] = True
    return fields


def _window(serial_number: str, due_at: datetime, early: tuple[datetime, str] | None) -> Window:
    """Return a window that ends by `due_at`. From that time on, the server itself renews.

    The windows are spread by serial number, so that devices do not renew all at once.

    Args:
        early: start and reason of an early renewal by a campaign. Used if it is earlier.
    """
    jitter = SPREAD * (1 - serial_position(serial_number))
    start, reason = due_at - LENGTH - jitter, "expiry"
    if early is not None and early[0] < start:
        start, reason = early
    return Window(start, start + LENGTH, reason)


def _past_window(at: datetime, reason: str) -> Window:
    return Window(at, at + IMMEDIATE, reason)
