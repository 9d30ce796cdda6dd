"""Note which fields of a device's messages cannot be used, so that members can see it."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from hashlib import sha256

from core.ignored import Ignored
from core.limits import Limit
from devices.registry.models import Device, UnreadableField

MAX_ROWS_OF_DEVICE = 50
KEPT_FOR = timedelta(days=30)
BATCH = 5000
SAME_FIELDS, FIELDS_OF_DEVICE = Limit("same_unreadable_fields"), Limit("unreadable_fields")


def note(device: Device, ignored: Iterable[Ignored], *, now: datetime) -> None:
    """Store which fields of a message could not be used as they were sent.

    The same fields of a device are stored once an hour, because a device repeats its fault with
    every message.
    """
    fields = {_without_indexes(item.field) or "(message)": item for item in ignored}
    if not fields:
        return
    content = "\n".join(sorted(f"{name} {item.code}" for name, item in fields.items()))
    digest = sha256(f"{content}\n{device.app_version}".encode()).hexdigest()[:16]
    if SAME_FIELDS.spend(f"{device.pk}:{digest}") or FIELDS_OF_DEVICE.spend(str(device.pk)):
        return
    rows = [
        UnreadableField(
            device=device,
            field=name[:100],
            code=item.code[:32],
            detail=item.detail[:200],
            app_version=device.app_version,
            first_seen_at=now,
            last_seen_at=now,
        )
        for name, item in sorted(fields.items())[:MAX_ROWS_OF_DEVICE]
    ]
    UnreadableField.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["device", "field", "app_version"],
        update_fields=["code", "detail", "last_seen_at"],
    )
    of_device = UnreadableField.objects.for_device(device)
    outdated = of_device.values_list("pk", flat=True)[MAX_ROWS_OF_DEVICE:]
    of_device.filter(pk__in=list(outdated)).delete()


def delete_old(*, now: datetime) -> int:
    """Delete what was last seen long ago, of every tenant. Return the number of rows."""
    total, deleted = 0, BATCH
    while deleted == BATCH:
        old = UnreadableField.every_tenant.filter(last_seen_at__lt=now - KEPT_FOR)
        ids = list(old.order_by().values_list("pk", flat=True)[:BATCH])
        deleted, _ = UnreadableField.every_tenant.filter(pk__in=ids).delete()
        total += deleted
    return total


def _without_indexes(path: str) -> str:
    """Return the path without the number of a sample in its batch."""
    parts = [part for part in path.split(".") if not part.isdigit()]
    return ".".join(parts[1:] if parts[:1] == ["samples"] and len(parts) > 1 else parts)
