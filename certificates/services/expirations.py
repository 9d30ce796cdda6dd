"""Expiration and renewal warnings, in batches that skip rows locked by other workers."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from django.db import transaction

from certificates.events import CertificateExpired, CertificateRenewalWarning, event_fields
from certificates.models import DeviceCertificate
from events.services.outbox import record

Status = DeviceCertificate.Status
BATCH = 500


def in_batches(process_batch: Callable[[], int]) -> Iterator[int]:
    """Call `process_batch` until nothing is left to process. Yield the size of each batch."""
    while count := process_batch():
        yield count


@transaction.atomic
def expire_batch(now: datetime) -> int:
    """Mark up to `BATCH` ended certificates as expired. Return how many were marked."""
    due = DeviceCertificate.objects.due_for_expiration(now).select_related("device")
    rows = list(due.select_for_update(skip_locked=True, of=("self",))[:BATCH])
    DeviceCertificate.objects.filter(pk__in=[row.pk for row in rows]).update(status=Status.EXPIRED)
    record(
        CertificateExpired(
            **event_fields(row, row.device, now),
            was_in_use=row.status == Status.ACTIVE and row.handover_until is None,
        )
        for row in rows
    )
    return len(rows)


@transaction.atomic
def warn_batch(now: datetime, window: timedelta) -> int:
    """Publish up to `BATCH` renewal warnings. Return how many were published."""
    due = DeviceCertificate.objects.due_for_warning(now, window).select_related("device")
    rows = list(due.select_for_update(skip_locked=True, of=("self",))[:BATCH])
    DeviceCertificate.objects.filter(pk__in=[row.pk for row in rows]).update(warned_at=now)
    record(CertificateRenewalWarning(**event_fields(row, row.device, now)) for row in rows)
    return len(rows)
