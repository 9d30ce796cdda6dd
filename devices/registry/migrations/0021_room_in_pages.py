"""Leave room in the pages of rows that change every minute.

A new version of a row in the same page changes no index. With less room, an open transaction of a
minute, such as a report, would fill the pages. The settings apply to new pages; the present ones
get room as their rows move. No reader or writer waits for the lock.
"""

from django.db import migrations

TABLES = {"devices_device": 60, "devices_nextsteps": 80}


def _statements(change):
    return [change(table, share) for table, share in TABLES.items()]


class Migration(migrations.Migration):

    dependencies = [
        ("devices", "0020_replacements"),
    ]

    operations = [
        migrations.RunSQL(
            _statements(
                lambda table, share: f"ALTER TABLE {table} SET (fillfactor = {share},"
                " autovacuum_vacuum_scale_factor = 0.05)"
            ),
            _statements(
                lambda table, _: f"ALTER TABLE {table}"
                " RESET (fillfactor, autovacuum_vacuum_scale_factor)"
            ),
        ),
    ]
