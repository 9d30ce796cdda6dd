"""Recalculation of devices' effective configurations in batches after a layer changes.

A `Round` row stores the progress of a recalculation. Each batch updates this row in its own
transaction. If a worker is stopped or killed, the next run continues after the last batch.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet

from core.tasks import enqueue_on_commit
from devices.configurations.models import Round
from devices.configurations.services import effective
from devices.registry.models import Device, DeviceTag, Site, Tag
from devices.registry.services.sites import ids_below
from tenants import revisions
from tenants.context import current_tenant_id, every_tenant_scope, tenant_scope
from tenants.fairness import random_tenant_first

BATCH = 2_000  # devices in one transaction, which takes about a tenth of a second


def request(*, tag: Tag | None = None, site: Site | None = None, now: datetime) -> None:
    """Request a recalculation of all devices of the current tenant, of a tag, or of a site.

    Call this function in the transaction that changes the layer. If a recalculation is
    in progress, it will process the devices up to its present position a second time.
    """
    revisions.increment()
    subject: list[object] = [current_tenant_id(), tag and tag.pk, site and site.pk]
    _request("SELECT %s::uuid, %s::bigint, %s::uuid", subject, now)


def request_for_all_tenants(*, now: datetime) -> None:
    """Request a recalculation of the devices of every tenant."""
    revisions.increment_all()
    with every_tenant_scope():
        _request("SELECT id, NULL::bigint, NULL::uuid FROM tenants_tenant ORDER BY id", [], now)


def process_batch(*, now: datetime) -> bool:
    """Recalculate a batch of devices of a tenant's `Round` that has waited longest.

    The tenants take turns.

    Returns:
        False if no round exists.
    """
    with transaction.atomic():
        with every_tenant_scope():
            rounds = Round.every_tenant.order_by(random_tenant_first(), "worked_at")
            current = rounds.select_for_update(skip_locked=True, of=("self",)).first()
        if current is None:
            return False
        with tenant_scope(current.tenant_id):
            _process(current, now)
    return True


def _request(subjects: str, values: list[object], now: datetime) -> None:
    """Create or extend the `Round` of each tenant, tag and site that a query selects."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO configurations_round AS existing (
                tenant_id, tag_id, site_id, asked_at, worked_at, is_last_lap, done, changed
            )
            SELECT subjects.*, %s, %s, false, 0, 0 FROM ({subjects}) subjects
            ON CONFLICT (tenant_id, tag_id, site_id) DO UPDATE SET
                until = existing.position, is_last_lap = false
            """,
            [now, now, *(None if v is None else str(v) for v in values)],
        )
    enqueue_on_commit("devices.configurations.tasks.recalculate", expires=55)


def _process(current: Round, now: datetime) -> None:
    # Lock before the devices are selected. A device whose tag is added by a transaction
    # that commits in the meantime is then selected too.
    effective.lock_calculation()
    ids = _next_ids(current)
    is_for_tenant = current.tag_id is None and current.site_id is None
    current.changed += effective.refresh(ids, write_empty=is_for_tenant, now=now)
    current.done += len(ids)
    current.worked_at = now
    if len(ids) == BATCH:
        current.position = ids[-1]
    elif current.until is not None and not current.is_last_lap:
        current.position, current.is_last_lap = None, True
    else:
        current.delete()
        return
    current.save(update_fields=["changed", "done", "worked_at", "position", "is_last_lap"])


def _next_ids(current: Round) -> list[UUID]:
    column: str = "pk"
    rows: QuerySet[Any] = Device.objects.not_retired()
    if current.tag_id is not None:
        column, rows = "device_id", DeviceTag.objects.filter(tag=current.tag_id)
    elif current.site_id is not None:
        rows = rows.filter(site__in=ids_below(current.site_id))
    if current.position is not None:
        rows = rows.filter(**{f"{column}__gt": current.position})
    if current.is_last_lap:
        rows = rows.filter(**{f"{column}__lte": current.until})
    return list(rows.order_by(column).values_list(column, flat=True)[:BATCH])
