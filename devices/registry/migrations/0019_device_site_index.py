from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

import tenants.constraints

SITE = tenants.constraints.SameTenant("site", name="device_at_its_tenants_site")
ADD = """
    ALTER TABLE devices_device DROP CONSTRAINT IF EXISTS device_at_its_tenants_site;
    ALTER TABLE devices_device ADD CONSTRAINT device_at_its_tenants_site
        FOREIGN KEY (tenant_id, site_id) REFERENCES devices_site (tenant_id, id)
        DEFERRABLE INITIALLY DEFERRED NOT VALID;
"""
VALIDATE = "ALTER TABLE devices_device VALIDATE CONSTRAINT device_at_its_tenants_site"
REMOVE = "ALTER TABLE devices_device DROP CONSTRAINT device_at_its_tenants_site"


class Migration(migrations.Migration):
    """Devices connect meanwhile, so the table is not locked, and there is no transaction."""

    atomic = False

    dependencies = [("devices", "0018_device_site")]

    operations = [
        migrations.RunSQL(
            # An interrupted attempt leaves an invalid index.
            "DROP INDEX CONCURRENTLY IF EXISTS device_list_of_site",
            migrations.RunSQL.noop,
        ),
        AddIndexConcurrently(
            "device",
            models.Index(
                condition=models.Q(site__isnull=False),
                fields=["site", "-registered_at"],
                name="device_list_of_site",
            ),
        ),
        migrations.RunSQL(
            ADD, REMOVE, state_operations=[migrations.AddConstraint("device", SITE)]
        ),
        migrations.RunSQL(VALIDATE, migrations.RunSQL.noop),
    ]
