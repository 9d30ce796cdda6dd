from django.db import migrations
from django.utils import timezone

from devices.monitoring.services.rule_templates import templates
from tenants.context import every_tenant_scope


def load(apps, schema_editor):
    """Tenants that were there before get the one rule that is new, if its name is free."""
    rule = apps.get_model("monitoring", "MonitoringRule")
    tenant = apps.get_model("tenants", "Tenant")
    (new,) = (one for one in templates() if one["template"] == "configuration_drift")
    now = timezone.now()
    with every_tenant_scope():
        rule.objects.bulk_create(
            [
                rule(tenant_id=tenant_id, created_at=now, **new)
                for tenant_id in tenant.objects.values_list("pk", flat=True)
            ],
            ignore_conflicts=True,
        )


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0003_drift")]

    operations = [migrations.RunPython(load, migrations.RunPython.noop)]
