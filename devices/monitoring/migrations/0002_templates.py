from django.db import migrations
from django.utils import timezone

from devices.monitoring.services.rule_templates import templates
from tenants.context import every_tenant_scope


def load(apps, schema_editor):
    """Tenants that were there before the monitoring get what new ones begin with."""
    rule = apps.get_model("monitoring", "MonitoringRule")
    tenant = apps.get_model("tenants", "Tenant")
    now = timezone.now()
    with every_tenant_scope():
        for tenant_id in tenant.objects.values_list("pk", flat=True):
            rule.objects.bulk_create(
                [
                    rule(tenant_id=tenant_id, created_at=now, **fields)
                    for fields in templates()
                ],
                ignore_conflicts=True,
            )


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0001_initial")]

    operations = [migrations.RunPython(load, migrations.RunPython.noop)]
