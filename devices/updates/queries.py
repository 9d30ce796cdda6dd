"""Prepared SQL statements for the progress reports of devices.

Thousands of devices can download at once, and each reports every few seconds.
"""

from datetime import datetime
from uuid import UUID

from core.prepared_statements import PreparedStatement
from tenants.context import current_tenant_id

# A report of an earlier status, or of less progress in the same status, changes nothing. But
# if a device has reported that the version is installed, has connected since then, and reports
# again, then the installation has not lasted.
_PROGRESS = PreparedStatement(
    "update_progress",
    "uuid, uuid, uuid, int, varchar, int, timestamptz",
    """
    UPDATE updates_updatestatus status SET
        status = CASE status.status WHEN 'installing' THEN 'installing' ELSE $5 END,
        progress = CASE WHEN status.status = 'installing' AND $5 = 'downloading' THEN 0 ELSE $6 END,
        heard_at = $7,
        started_at = coalesce(status.started_at, $7),
        status_since = CASE
            WHEN status.status IN ($5, 'installing') THEN status.status_since
            ELSE $7
        END,
        installations = status.installations + CASE
            WHEN $5 <> 'installing' OR $6 < 100 THEN 0
            WHEN status.status = 'installing' AND status.progress = 100
                AND (device.last_seen > status.heard_at) IS NOT TRUE THEN 0
            ELSE 1
        END,
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
                OR status.progress = 100 AND $6 < 100 AND status.installed_at IS NULL
                    AND device.last_seen > status.heard_at
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
