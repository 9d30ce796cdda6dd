"""Leave room in the pages of latest samples, which are overwritten every few minutes."""

from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ("metrics", "0001_initial"),
    ]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE metrics_latestmetrics"
            " SET (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05)",
            "ALTER TABLE metrics_latestmetrics"
            " RESET (fillfactor, autovacuum_vacuum_scale_factor)",
        ),
    ]
