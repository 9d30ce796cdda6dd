from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("devices", "0006_command_sequence"),)

    operations = (
        migrations.AlterField(
            model_name="nextsteps",
            name="commands_waiting",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AlterField(
            model_name="nextsteps",
            name="update_waiting",
            field=models.BooleanField(db_default=False, default=False),
        ),
    )
