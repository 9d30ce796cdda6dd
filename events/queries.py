"""SQL of hot paths: inserting one event, and choosing the next deliveries."""

from datetime import datetime
from functools import cache
from uuid import uuid4

from django.db import connection

from core.prepared_statements import PreparedStatement
from events.models import Event
from events.models.event import NO_OWNER

MAX_OWNERS = 100  # in one batch

# Jump from owner to owner in the index, and take the first due rows of each. A delivery waits
# for older ones of its stream, as in `DeliveryQuerySet.due`.
_IN_TURNS = PreparedStatement(
    "deliveries_in_turns",
    "uuid, timestamptz, int, int",
    """
    WITH RECURSIVE owners(owner) AS (
        (SELECT owner FROM events_delivery
         WHERE dead_at IS NULL AND due_at <= $2 AND owner >= $1 ORDER BY owner LIMIT 1)
        UNION ALL
        SELECT (SELECT owner FROM events_delivery
                WHERE dead_at IS NULL AND due_at <= $2 AND owner > owners.owner
                ORDER BY owner LIMIT 1)
        FROM owners WHERE owners.owner IS NOT NULL
    ), chosen AS MATERIALIZED (SELECT owner FROM owners WHERE owner IS NOT NULL LIMIT $3)
    SELECT due.id, (SELECT count(*) FROM chosen) FROM chosen CROSS JOIN LATERAL (
        SELECT id FROM events_delivery AS delivery
        WHERE owner = chosen.owner AND dead_at IS NULL AND due_at <= $2 AND NOT EXISTS (
            SELECT FROM events_delivery AS older
            WHERE older.listener = delivery.listener AND older.stream = delivery.stream
            AND older.event_id < delivery.event_id AND older.dead_at IS NULL
        )
        ORDER BY id LIMIT greatest(1, $4 / (SELECT count(*) FROM chosen))
    ) AS due
    """,
)

_FIELDS = [field for field in Event._meta.concrete_fields if not field.primary_key]


def write(event: Event) -> None:
    """Insert an event and set its id, like `event.save()`."""
    values = (
        field.get_db_prep_save(getattr(event, field.attname), connection) for field in _FIELDS
    )
    row = _insert().fetch_one(*values)
    assert row is not None
    event.pk = row[0]


def due_in_turns(*, now: datetime, batch_size: int) -> list[int]:
    """Return the ids of due deliveries. The tenants share the batch, so none delays another.

    With `MAX_OWNERS` tenants or more, each batch begins with a random one.
    """
    rows = _IN_TURNS.fetch_all(str(NO_OWNER), now, MAX_OWNERS, batch_size)
    if rows and rows[0][1] == MAX_OWNERS:
        rows = _IN_TURNS.fetch_all(str(uuid4()), now, MAX_OWNERS, batch_size) or rows
    return [row[0] for row in rows]


@cache
def _insert() -> PreparedStatement:
    types = (str(field.db_type(connection)) for field in _FIELDS)
    columns = ", ".join(field.column for field in _FIELDS)
    placeholders = ", ".join(f"${number}" for number in range(1, len(_FIELDS) + 1))
    return PreparedStatement(
        "event_insert",
        ", ".join(types),
        f"INSERT INTO {Event._meta.db_table} ({columns}) VALUES ({placeholders}) RETURNING id",
    )
