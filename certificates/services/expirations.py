"""What the monitor writes: in batches, skipping rows that another monitor holds."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from django.db import transaction

from certificates.events import CertificateExpired, CertificateRenewalWarning, about
from certificates.models import DeviceCertificate
from events.services.outbox import record

Status = DeviceCertificate.Status
BATCH = 500


def in_batches(some: Callable[[], int]) -> Iterator[int]:
    """Run a batch after another until one finds nothing to do."""
    while done := some():
        yield done


@transaction.atomic
def expire_some(now: datetime) -> int:
    over = DeviceCertificate.objects.over(now).select_related("device")
    rows = list(over.select_for_update(skip_locked=True, of=("self",))[:BATCH])
    DeviceCertificate.objects.filter(pk__in=[row.pk for row in rows]).update(
        status=Status.EXPIRED
    )
    record(
        CertificateExpired(
            **about(row, row.device, now),
            was_in_use=row.status == Status.ACTIVE and row.handover_until is None,
        )
        for row in rows
    )
    return len(rows)


@transaction.atomic
def warn_some(now: datetime, window: timedelta) -> int:
    due = DeviceCertificate.objects.due_for_warning(now, window).select_related(
        "device"
    )
    rows = list(due.select_for_update(skip_locked=True, of=("self",))[:BATCH])
    DeviceCertificate.objects.filter(pk__in=[row.pk for row in rows]).update(
        warned_at=now
    )
    record(CertificateRenewalWarning(**about(row, row.device, now)) for row in rows)
    return len(rows)
