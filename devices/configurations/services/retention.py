"""Documents that no device should have or has any more are forgotten after some time."""

from datetime import datetime

from django.db import connection, transaction

BATCH = 5_000


def drop_outlived(*, before: datetime) -> int:
    """Forget what was last wanted before a moment; return how many documents."""
    total, dropped = 0, BATCH
    while dropped == BATCH:
        dropped = _drop(before)
        total += dropped
    return total


@transaction.atomic
def _drop(before: datetime) -> int:
    """Who begins to want one of them meanwhile moves its time, and it stays."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            DELETE FROM configurations_effectivedocument WHERE wanted_at < %(before)s
                AND id IN (
                    SELECT kept.id FROM configurations_effectivedocument kept
                    WHERE kept.wanted_at < %(before)s
                        AND NOT EXISTS (
                            SELECT FROM devices_nextsteps steps
                            WHERE steps.tenant_id = kept.tenant_id
                                AND steps.configuration_version = kept.version)
                        AND NOT EXISTS (
                            SELECT FROM configurations_reportedconfiguration said
                            WHERE said.tenant_id = kept.tenant_id
                                AND said.version = kept.version)
                        AND NOT EXISTS (
                            SELECT FROM configurations_reportedconfiguration said
                            WHERE said.tenant_id = kept.tenant_id
                                AND said.applied_version = kept.version)
                    LIMIT {BATCH} FOR UPDATE SKIP LOCKED
                )
            """,
            {"before": before},
        )
        return int(cursor.rowcount)
