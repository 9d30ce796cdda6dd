"""Insert rows of several tables with one prepared statement, or many rows of one table.

For the few operations that run very often or write very many rows. Building and sending the
INSERT in the ORM would take most of their time.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import groupby
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import NOT_PROVIDED, AutoField, Field, Model
from django.db.models.expressions import DatabaseDefault

from core.prepared_statements import PreparedStatement

Shape = tuple[tuple[type[Model], int], ...]  # models, and how many rows of each follow


def insert(rows: Iterable[Model]) -> None:
    """Insert new rows and set their ids, without signals, as `bulk_create` does.

    The rows of one model follow each other. They are inserted in this order; foreign keys to
    others of the rows are possible. There is a prepared statement for each combination, so the
    number of combinations has to be small.
    """
    groups = [(model, list(group)) for model, group in groupby(rows, type)]
    shape = tuple((model, len(group)) for model, group in groups)
    values = [
        _value(row, field) for model, group in groups for row in group for field in _fields(model)
    ]
    keys = _statement(shape).fetch_one(*values)
    assert keys is not None
    for (_, group), keys_of_group in zip(groups, keys, strict=True):
        for row, key in zip(group, keys_of_group, strict=True):
            row.pk = key
            row._state.adding, row._state.db = False, "default"


def insert_many(rows: Sequence[Model]) -> None:
    """Insert new rows of one model and set their ids, without signals, as `bulk_create` does.

    A column that has the same value in all rows is sent once, all others as an array, so they
    cannot be arrays themselves.
    """
    if not rows:
        return
    options = rows[0]._meta
    columns, arrays, selected = [], [], []
    values: dict[str, list[Any]] = {"arrays": [], "selected": []}
    for field in _fields(type(rows[0])):
        columns.append(field.column)
        first = getattr(rows[0], field.attname)
        if all(_is_same(getattr(row, field.attname), first) for row in rows):
            selected.append(f"%s::{field.db_type(connection)}")
            values["selected"].append(_value(rows[0], field))
        else:
            selected.append(field.column)
            arrays.append((field.column, f"%s::{field.db_type(connection)}[]"))
            values["arrays"].append([_as_text(_value(row, field)) for row in rows])
    names = ", ".join([*(name for name, _ in arrays), "place"])
    parameters = ", ".join([*(parameter for _, parameter in arrays), "%s::int[]"])
    assert options.pk is not None
    sql = (
        f"INSERT INTO {options.db_table} ({', '.join(columns)}) SELECT {', '.join(selected)}"
        f" FROM unnest({parameters}) AS row ({names}) ORDER BY place"
        f" RETURNING {options.pk.column}"
    )
    places = list(range(len(rows)))
    with connection.cursor() as cursor:
        cursor.execute(sql, [*values["selected"], *values["arrays"], places])
        keys = cursor.fetchall()
    for row, (key,) in zip(rows, keys, strict=True):
        row.pk = key
        row._state.adding, row._state.db = False, "default"


@cache
def _fields(model: type[Model]) -> tuple["Field[Any, Any]", ...]:
    return tuple(field for field in model._meta.concrete_fields if not isinstance(field, AutoField))


def _value(row: Model, field: "Field[Any, Any]") -> Any:
    value = getattr(row, field.attname)
    if isinstance(value, DatabaseDefault):
        assert field.db_default is not NOT_PROVIDED
        value = field.db_default
    return field.get_db_prep_save(value, connection)


def _is_same(value: Any, other: Any) -> bool:
    """Return whether both are stored alike. In JSON, 1, 1.0 and true are not."""
    return value == other and (not isinstance(value, dict | list) or repr(value) == repr(other))


def _as_text(value: Any) -> Any:
    """Return an element of an array. Text is sent faster than an id with its type."""
    return str(value) if isinstance(value, UUID) else value


@cache
def _statement(shape: Shape) -> PreparedStatement:
    parts: list[str] = []
    keys: list[str] = []
    types: list[str] = []
    for position, (model, count) in enumerate(shape):
        fields, options = _fields(model), model._meta
        rows = []
        for _ in range(count):
            first = len(types) + 1
            rows.append(
                f"({', '.join(f'${number}' for number in range(first, first + len(fields)))})"
            )
            types += [str(field.db_type(connection)) for field in fields]
        assert options.pk is not None
        columns = ", ".join(field.column for field in fields)
        parts.append(
            f"rows_{position} AS (INSERT INTO {options.db_table} ({columns})"
            f" VALUES {', '.join(rows)} RETURNING {options.pk.column} AS key)"
        )
        keys.append(f"(SELECT array_agg(key) FROM rows_{position})")
    sql = f"WITH {', '.join(parts)} SELECT {', '.join(keys)}"
    name = f"insert_{hashlib.sha256(sql.encode()).hexdigest()[:16]}"
    return PreparedStatement(name, ", ".join(types), sql)
