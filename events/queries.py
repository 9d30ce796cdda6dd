"""The prepared statement that inserts one event. Nearly every change executes the statement."""

from functools import cache

from django.db import connection

from core.prepared_statements import PreparedStatement
from events.models import Event

_FIELDS = [field for field in Event._meta.concrete_fields if not field.primary_key]


def write(event: Event) -> None:
    """Insert an event and set its id, like `event.save()`."""
    values = (
        field.get_db_prep_save(getattr(event, field.attname), connection) for field in _FIELDS
    )
    row = _insert().fetch_one(*values)
    assert row is not None
    event.pk = row[0]


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
