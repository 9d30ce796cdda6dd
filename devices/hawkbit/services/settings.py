"""Read and change whether a tenant's devices may use the hawkBit API."""

from datetime import datetime

from django.db import transaction

from core.locks import transaction_lock
from core.tasks import enqueue_on_commit
from devices.hawkbit.errors import InvalidHawkbitSettings
from devices.hawkbit.events import HawkbitSettingsChanged
from devices.hawkbit.models import HawkbitSettings
from events.services.outbox import record
from tenants.context import current_tenant_id

POLLING_SECONDS = (30, 86_399)  # the API writes the interval as hours, minutes and seconds


def current_settings() -> HawkbitSettings:
    """Return the current tenant's settings. A tenant without a row has the defaults."""
    return HawkbitSettings.objects.select_related("tenant").first() or HawkbitSettings()


@transaction.atomic
def change(
    *, is_enabled: bool | None = None, polling_seconds: int | None = None, now: datetime
) -> HawkbitSettings:
    """Change the given settings of the current tenant.

    Raises:
        InvalidHawkbitSettings: the interval is out of range.
    """
    transaction_lock(f"hawkBit settings of {current_tenant_id()}")
    row = current_settings()
    values = {"is_enabled": is_enabled, "polling_seconds": polling_seconds}
    minimum, maximum = POLLING_SECONDS
    if polling_seconds is not None and not minimum <= polling_seconds <= maximum:
        sentence = f"The interval must be between {minimum} and {maximum:,} seconds."
        raise InvalidHawkbitSettings(sentence, field="polling_seconds")
    changes = {
        name: (getattr(row, name), value)
        for name, value in values.items()
        if value is not None and value != getattr(row, name)
    }
    if changes:
        for name, (_, value) in changes.items():
            setattr(row, name, value)
        row.updated_at = now
        row.save()
        tenant_id = current_tenant_id()
        record([HawkbitSettingsChanged(tenant_id=tenant_id, at=now, changes=changes)])
        if "is_enabled" in changes and row.is_enabled:
            enqueue_on_commit("devices.updates.tasks.compute_missing_hashes")
    return row
