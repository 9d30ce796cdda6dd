from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q

WAITING = Q(delivered_at__isnull=True, dead_at__isnull=True)


class Migration(migrations.Migration):
    atomic = False  # the indexes are built without locking the table

    dependencies = [("events", "0006_channel_health")]

    operations = [
        AddIndexConcurrently(
            model_name="channeldelivery",
            index=models.Index(condition=WAITING, fields=["channel", "id"], name="told_waiting"),
        ),
        AddIndexConcurrently(
            model_name="channeldelivery",
            index=models.Index(
                condition=WAITING & Q(name="channel.tested"), fields=["due_at"], name="told_tests"
            ),
        ),
    ]
