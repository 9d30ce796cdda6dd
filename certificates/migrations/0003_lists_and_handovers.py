from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


def dropped(name):
    """What a run that was ended in the middle has left, perhaps invalid."""
    return migrations.RunSQL(
        f"DROP INDEX CONCURRENTLY IF EXISTS {name}", migrations.RunSQL.noop
    )


def index_beside_writers(*fields, name, **when):
    index = models.Index(fields=fields, condition=Q(**when), name=name)
    return [dropped(name), AddIndexConcurrently("devicecertificate", index)]


def unique_beside_writers(constraint, sql):
    """A unique index that is built while others write: Django's own operation locks."""
    return migrations.SeparateDatabaseAndState(
        database_operations=[
            dropped(constraint.name),
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
        *index_beside_writers(
            "authority_key_id",
            "not_after",
            name="certificate_complete_list",
            status="revoked",
        ),
        *index_beside_writers(
            "distribution_point",
            "not_after",
            name="certificate_shard",
            status="revoked",
        ),
        *index_beside_writers(
            "revoked_at",
            name="certificate_unlisted",
            status="revoked",
            listed_at__isnull=True,
        ),
        *index_beside_writers(
            "key_delivered_at",
            name="certificate_key_delivered",
            key_delivered_at__isnull=False,
        ),
        *index_beside_writers(
            "handover_until",
            name="certificate_handover",
            status="active",
            handover_until__isnull=False,
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
