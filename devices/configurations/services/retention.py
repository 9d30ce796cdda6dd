"""Deletion of effective documents that no device uses."""

from datetime import datetime

from django.db import connection, transaction

BATCH = 5_000


def delete_unused(*, before: datetime) -> int:
    """Delete unused documents that were last assigned before the given time.

    A document is used if its version is assigned to a device or is in a device's last report.

    Returns:
        The number of deleted documents.
    """
    total, deleted = 0, BATCH
    while deleted == BATCH:
        deleted = _delete_batch(before)
        total += deleted
    return total


@transaction.atomic
def _delete_batch(before: datetime) -> int:
    """Delete a batch of unused documents.

    A document may be assigned to a device while the query runs. This sets a newer
    `wanted_at`. The outer condition of the query checks `wanted_at` again and keeps the document.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            DELETE FROM configurations_effectivedocument WHERE wanted_at < %(before)s
                AND id IN (
                    SELECT unused.id FROM configurations_effectivedocument unused
                    WHERE unused.wanted_at < %(before)s
                        AND NOT EXISTS (
                            SELECT FROM devices_nextsteps steps
                            WHERE steps.tenant_id = unused.tenant_id
                                AND steps.configuration_version = unused.version)
                        AND NOT EXISTS (
                            SELECT FROM configurations_reportedconfiguration report
                            WHERE report.tenant_id = unused.tenant_id
                                AND report.version = unused.version)
                        AND NOT EXISTS (
                            SELECT FROM configurations_reportedconfiguration report
                            WHERE report.tenant_id = unused.tenant_id
                                AND report.applied_version = unused.version)
                    LIMIT {BATCH} FOR UPDATE SKIP LOCKED
                )
            """,
            {"before": before},
        )
        return int(cursor.rowcount)
