from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("devices", "0008_labels")]

    operations = [migrations.RenameField("pairing", "box", "report")]
