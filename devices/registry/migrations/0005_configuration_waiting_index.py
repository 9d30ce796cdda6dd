from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """Beside the devices that connect meanwhile: no lock, hence no transaction."""

    atomic = False

    dependencies = [("devices", "0004_configuration_waiting")]

    operations = [
        migrations.RunSQL(
            # Of an attempt that was broken off: it would be there and not valid.
            "DROP INDEX CONCURRENTLY IF EXISTS configuration_waiting",
            migrations.RunSQL.noop,
        ),
        AddIndexConcurrently(
            "nextsteps",
            models.Index(
                fields=("tenant", "device"),
                condition=models.Q(configuration_waiting_since__isnull=False),
                name="configuration_waiting",
            ),
        ),
    ]
