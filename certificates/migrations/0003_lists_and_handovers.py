from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


def unique_beside_writers(constraint, sql):
    """A unique index that is built while others write: Django's own operation locks."""
    return migrations.SeparateDatabaseAndState(
        database_operations=[
            migrations.RunSQL(
                f"CREATE UNIQUE INDEX CONCURRENTLY {constraint.name}"
                f" ON certificates_devicecertificate {sql}",
                f"DROP INDEX CONCURRENTLY IF EXISTS {constraint.name}",
            )
        ],
        state_operations=[
            migrations.AddConstraint("devicecertificate", constraint)
        ],
    )


class Migration(migrations.Migration):
    """Indexes of the one big table; none of them makes an issuance wait."""

    atomic = False
    dependencies = [("certificates", "0002_authorities_and_lists")]
    operations = [
        AddIndexConcurrently(
            "devicecertificate",
            models.Index(
                fields=["authority_key_id", "not_after"],
                condition=Q(status="revoked"),
                name="certificate_complete_list",
            ),
        ),
        AddIndexConcurrently(
            "devicecertificate",
            models.Index(
                fields=["distribution_point", "not_after"],
                condition=Q(status="revoked"),
                name="certificate_shard",
            ),
        ),
        AddIndexConcurrently(
            "devicecertificate",
            models.Index(
                fields=["revoked_at"],
                condition=Q(status="revoked", listed_at__isnull=True),
                name="certificate_unlisted",
            ),
        ),
        AddIndexConcurrently(
            "devicecertificate",
            models.Index(
                fields=["handover_until"],
                condition=Q(status="active", handover_until__isnull=False),
                name="certificate_handover",
            ),
        ),
        unique_beside_writers(
            models.UniqueConstraint(
                fields=["device"],
                condition=Q(status="active", handover_until__isnull=True),
                name="certificate_one_in_use_per_device",
            ),
            "(device_id) WHERE handover_until IS NULL AND status = 'active'",
        ),
        unique_beside_writers(
            models.UniqueConstraint(
                fields=["replaces"],
                condition=~Q(status__in=("pending", "failed", "revoked")),
                name="certificate_one_valid_successor",
            ),
            "(replaces_id) WHERE NOT (status IN ('pending', 'failed', 'revoked'))",
        ),
        migrations.RemoveConstraint(
            "devicecertificate", "certificate_one_active_per_device"
        ),
        migrations.RemoveConstraint("devicecertificate", "certificate_one_successor"),
    ]
