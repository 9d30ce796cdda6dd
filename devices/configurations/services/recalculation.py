"""After a change of a layer: what all its devices should have, worked out batch by batch.

What is to be done stands in a row, and each batch moves it on in its own transaction:
whoever is stopped, or killed, goes on where the last batch ended.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet

from core.tasks import enqueue_on_commit
from devices.configurations.models import Round
from devices.configurations.services import effective
from devices.registry.models import Device, DeviceTag, Tag
from tenants.context import current_tenant_id, every_tenant_scope, tenant_scope

BATCH = 2_000  # devices in one transaction: about a tenth of a second


def ask(*, tag: Tag | None = None, now: datetime) -> None:
    """Have a round made through the current tenant's devices, or those with a tag.

    In the transaction that changes the layer. One under way goes on past its end, up
    to where it is now.
    """
    _ask("SELECT %s::uuid, %s::bigint", [current_tenant_id(), tag and tag.pk], now)


def ask_everybody(*, now: datetime) -> None:
    """Have a round made through every tenant's devices."""
    with every_tenant_scope():
        _ask("SELECT id, NULL::bigint FROM tenants_tenant ORDER BY id", [], now)


def work(*, now: datetime) -> bool:
    """Do a batch of the round that has waited longest; whether there was one."""
    with transaction.atomic():
        with every_tenant_scope():
            rounds = Round.every_tenant.by_turn().select_for_update(
                skip_locked=True, of=("self",)
            )
            turn: Round | None = rounds.first()
        if turn is None:
            return False
        with tenant_scope(turn.tenant_id):
            _go_on(turn, now)
    return True


def _ask(whose: str, values: list[object], now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO configurations_round AS under_way (
                tenant_id, tag_id, asked_at, worked_at, is_last_lap, done, changed
            )
            SELECT whose.*, %s, %s, false, 0, 0 FROM ({whose}) whose
            ON CONFLICT (tenant_id, tag_id) DO UPDATE SET
                until = under_way.position, is_last_lap = false
            """,
            [now, now, *(None if v is None else str(v) for v in values)],
        )
    enqueue_on_commit("devices.configurations.tasks.recalculate", expires=55)


def _go_on(turn: Round, now: datetime) -> None:
    effective.take_turn()
    ids = _next(turn)
    everybody = turn.tag_id is None
    turn.changed += effective.refresh(ids, even_nothing=everybody, now=now)
    turn.done += len(ids)
    turn.worked_at = now
    if len(ids) == BATCH:
        turn.position = ids[-1]
    elif turn.until is not None and not turn.is_last_lap:
        turn.position, turn.is_last_lap = None, True
    else:
        turn.delete()
        return
    turn.save(update_fields=["changed", "done", "worked_at", "position", "is_last_lap"])


def _next(turn: Round) -> list[UUID]:
    column: str = "pk"
    rows: QuerySet[Any] = Device.objects.living()
    if turn.tag_id is not None:
        column, rows = "device_id", DeviceTag.objects.filter(tag=turn.tag_id)
    if turn.position is not None:
        rows = rows.filter(**{f"{column}__gt": turn.position})
    if turn.is_last_lap:
        rows = rows.filter(**{f"{column}__lte": turn.until})
    return list(rows.order_by(column).values_list(column, flat=True)[:BATCH])
