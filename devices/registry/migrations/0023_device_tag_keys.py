"""The constraints with the tenant contain these foreign keys, so each row is checked once less."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('devices', '0022_signature_algorithm'),
    ]

    operations = [
        # The constraints refer to the table of devices. Do not let devices wait for this for long:
        # if it fails beside a long read, run it again.
        migrations.RunSQL("SET LOCAL lock_timeout = '2s'", migrations.RunSQL.noop),
        migrations.AlterField(
            model_name='devicetag',
            name='device',
            field=models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.CASCADE, related_name='device_tags', to='devices.device'),
        ),
        migrations.AlterField(
            model_name='devicetag',
            name='tag',
            field=models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.CASCADE, related_name='device_tags', to='devices.tag'),
        ),
    ]
