from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("certificates", "0004_labels")]

    operations = [
        migrations.AddField(
            "devicecertificate", "renewal_requested_at", models.DateTimeField(null=True)
        ),
    ]
