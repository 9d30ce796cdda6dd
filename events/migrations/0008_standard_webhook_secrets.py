from base64 import b64encode

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

from core.encryption import DecryptionError, decrypt, encrypt
from tenants.context import every_tenant_scope

PURPOSE = "webhook secrets"
FORMER_PREFIX = "whs_"


def rewrite(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    """Write the secrets in the form of Standard Webhooks. Their keys stay the same."""
    channels = apps.get_model("events", "Channel").every_tenant.exclude(secret="")
    with every_tenant_scope():
        for channel in channels.select_for_update().order_by("pk"):
            for name in ("secret", "former_secret"):
                setattr(channel, name, _standard(getattr(channel, name)))
            channel.save(update_fields=["secret", "former_secret"])


def _standard(encrypted: str) -> str:
    try:
        secret = decrypt(encrypted, purpose=PURPOSE) if encrypted else ""
    except DecryptionError:  # the channel does not work either, and says so
        return encrypted
    if not secret.startswith(FORMER_PREFIX):
        return encrypted
    return encrypt(f"whsec_{b64encode(secret.encode()).decode()}", purpose=PURPOSE)


class Migration(migrations.Migration):
    dependencies = [("events", "0007_waiting_messages")]

    operations = [migrations.RunPython(rewrite, migrations.RunPython.noop)]
