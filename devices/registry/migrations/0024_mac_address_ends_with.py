"""Find MAC addresses by their last digits, as they are printed on labels."""

import django.contrib.postgres.indexes
import django.db.models.functions.text
from django.db import migrations, models

INDEX = models.Index(
    django.contrib.postgres.indexes.OpClass(
        django.db.models.functions.text.Reverse("value"), name="text_pattern_ops"
    ),
    condition=models.Q(kind="mac_address"),
    name="mac_address_ends_with",
)


class Migration(migrations.Migration):
    """Devices register meanwhile, so the table is not locked, and there is no transaction."""

    atomic = False

    dependencies = [("devices", "0023_device_tag_keys")]

    operations = [
        migrations.RunSQL(
            # An interrupted attempt leaves an invalid index.
            "DROP INDEX CONCURRENTLY IF EXISTS mac_address_ends_with",
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL(  # Django needs its app for PostgreSQL to write operator classes
            "CREATE INDEX CONCURRENTLY mac_address_ends_with ON devices_deviceidentifier"
            " (reverse(value) text_pattern_ops) WHERE kind = 'mac_address'",
            "DROP INDEX CONCURRENTLY mac_address_ends_with",
            state_operations=[migrations.AddIndex("deviceidentifier", INDEX)],
        ),
    ]
