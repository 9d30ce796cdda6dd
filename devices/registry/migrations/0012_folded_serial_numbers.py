"""Normalise serial numbers, which are now compared without differences of case and width.

If two devices have serial numbers that differ in case only, the second row stays as it is. Its
device keeps its record, because it is found by its other identifiers.
"""

import unicodedata
from typing import Any

from django.db import connection, migrations

from tenants.context import every_tenant_scope

BATCH = 5000  # rows that are locked at a time


def fold(text: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return folded.strip()


def fold_serial_numbers(apps: Any, editor: Any) -> None:
    last = 0
    with every_tenant_scope(), connection.cursor() as cursor:
        while True:
            cursor.execute(
                """
                SELECT id, value FROM devices_deviceidentifier
                WHERE kind = 'serial_number' AND id > %s ORDER BY id LIMIT %s
                """,
                [last, BATCH],
            )
            rows = cursor.fetchall()
            if not rows:
                return
            last = rows[-1][0]
            changed = [(id, fold(value)) for id, value in rows if fold(value) != value]
            changed = [(id, value) for id, value in changed if 0 < len(value) <= 64]
            if changed:
                _update(cursor, changed)


def _update(cursor: Any, changed: list[tuple[int, str]]) -> None:
    """Update the rows, except those that would take the serial number of another device."""
    ids, values = zip(*changed, strict=True)
    cursor.execute(
        """
        WITH folded AS (
            SELECT row.id, row.tenant_id, row.released_at, new.value,
                row_number() OVER (
                    PARTITION BY row.tenant_id, new.value, row.released_at IS NULL ORDER BY row.id
                ) AS place
            FROM unnest(%s::bigint[], %s::varchar[]) AS new (id, value)
            JOIN devices_deviceidentifier row ON row.id = new.id
        )
        UPDATE devices_deviceidentifier identifier
        SET written = identifier.value, value = folded.value
        FROM folded
        WHERE identifier.id = folded.id AND (
            folded.released_at IS NOT NULL
            OR folded.place = 1 AND NOT EXISTS (
                SELECT 1 FROM devices_deviceidentifier other
                WHERE other.tenant_id = folded.tenant_id AND other.kind = 'serial_number'
                    AND other.value = folded.value AND other.released_at IS NULL
            )
        )
        """,
        [list(ids), list(values)],
    )


class Migration(migrations.Migration):
    atomic = False  # each batch is committed, so no row is locked for long

    dependencies = [("devices", "0011_identifier_conflicts")]

    operations = [migrations.RunPython(fold_serial_numbers, migrations.RunPython.noop)]
