"""In a transaction of its own: the triggers of 0002 must not stay locked for so long."""

from django.db import migrations

from tenants.context import every_tenant_scope


def note_what_is_there(apps, schema_editor):
    """What was written before there were chains is sealed as it is now."""
    with every_tenant_scope(), schema_editor.connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO events_unsealed (event_id, chain)"
            " SELECT id, tenant_id FROM events_event ON CONFLICT DO NOTHING"
        )


class Migration(migrations.Migration):
    dependencies = [("events", "0002_audit_chain")]

    operations = [
        migrations.RunPython(note_what_is_there, migrations.RunPython.noop),
    ]
