"""Find certificates by their fingerprint, and renew those of many devices on request."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """Certificates are issued meanwhile, so the table is not locked."""

    atomic = False

    dependencies = [("certificates", "0005_renewal_requested_at")]

    operations = [
        migrations.RunSQL(
            "DROP INDEX CONCURRENTLY IF EXISTS certificate_to_renew", migrations.RunSQL.noop
        ),
        AddIndexConcurrently(
            "devicecertificate",
            models.Index(
                condition=models.Q(("renewal_requested_at__isnull", False)),
                fields=["renewal_requested_at"],
                name="certificate_to_renew",
            ),
        ),
        migrations.RunSQL(
            # An interrupted attempt leaves an invalid index.
            "DROP INDEX CONCURRENTLY IF EXISTS certificate_by_fingerprint",
            migrations.RunSQL.noop,
        ),
        AddIndexConcurrently(
            "devicecertificate",
            models.Index(
                condition=models.Q(("fingerprint", ""), _negated=True),
                fields=["fingerprint"],
                name="certificate_by_fingerprint",
                opclasses=("varchar_pattern_ops",),
            ),
        ),
    ]
