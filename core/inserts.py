"""Insert rows of several tables with one prepared statement.

For the few operations that run very often. Building and sending one INSERT for each row in the
ORM would take most of their time.
"""

import hashlib
from collections.abc import Iterable
from functools import cache
from itertools import groupby
from typing import Any

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


@cache
def _fields(model: type[Model]) -> tuple["Field[Any, Any]", ...]:
    return tuple(field for field in model._meta.concrete_fields if not isinstance(field, AutoField))


def _value(row: Model, field: "Field[Any, Any]") -> Any:
    value = getattr(row, field.attname)
    if isinstance(value, DatabaseDefault):
        assert field.db_default is not NOT_PROVIDED
        value = field.db_default
    return field.get_db_prep_save(value, connection)


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
