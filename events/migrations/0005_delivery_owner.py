from uuid import UUID

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # the index is built without locking the table

    dependencies = [("events", "0004_channels")]

    operations = [
        migrations.AddField(
            model_name="delivery",
            name="owner",
            field=models.UUIDField(default=UUID(int=0), db_default=UUID(int=0)),
        ),
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("dead_at__isnull", True)),
                fields=["owner", "id"],
                name="delivery_turns",
            ),
        ),
    ]
