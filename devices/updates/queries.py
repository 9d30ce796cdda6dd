"""Prepared SQL statements for the progress reports of devices.

Thousands of devices can download at once, and each reports every few seconds.
"""

from datetime import datetime
from uuid import UUID

from core.prepared_statements import PreparedStatement
from tenants.context import current_tenant_id

# A report of an earlier status, or of less progress in the same status, changes nothing.
_PROGRESS = PreparedStatement(
    "update_progress",
    "uuid, uuid, uuid, int, varchar, int, timestamptz",
    """
    UPDATE updates_updatestatus status SET
        status = $5, progress = $6, heard_at = $7,
        started_at = coalesce(status.started_at, $7),
        from_version = CASE
            WHEN status.started_at IS NOT NULL THEN status.from_version
            WHEN status.attempt > 1 AND status.from_version <> '' THEN status.from_version
            WHEN status.version = CASE product.reports
                WHEN 'os_version' THEN device.os_version ELSE device.app_version
            END THEN status.from_version
            WHEN product.reports = 'os_version' THEN device.os_version
            ELSE device.app_version
        END
    FROM updates_deployment deployment
    JOIN updates_softwareproduct product ON product.id = deployment.product_id
    CROSS JOIN devices_device device
    WHERE status.tenant_id = $1 AND status.device_id = $2
        AND status.deployment_id = $3 AND status.attempt = $4
        AND deployment.id = $3 AND device.id = $2
        AND (deployment.state <> 'aborted' OR status.status = 'installing')
        AND CASE status.status
            WHEN 'pending' THEN true
            WHEN 'downloading' THEN $5 = 'installing' OR status.progress <= $6
            WHEN 'installing' THEN $5 = 'installing' AND status.progress <= $6
            ELSE false
        END
    """,
)


def record_progress(
    *, device_id: UUID, deployment_id: UUID, attempt: int, status: str, progress: int, now: datetime
) -> bool:
    """Store the progress of an update of the current tenant's device.

    Args:
        progress: percent of the download or of the installation, depending on `status`.

    Returns:
        False if the row does not exist, has ended, or already has a later progress.
    """
    tenant_id = current_tenant_id()
    values = (tenant_id, device_id, deployment_id, attempt, status, progress, now)
    return _PROGRESS.execute(*values) > 0
