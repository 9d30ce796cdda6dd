"""Domain events of maintenance windows."""

from datetime import datetime
from typing import ClassVar

from events.domain_events import DomainEvent


class MaintenanceWindowEvent(DomainEvent):
    """Base of events about maintenance windows."""

    link: ClassVar[tuple[str, str] | None] = (
        "window_id",
        "admin:maintenance_maintenancewindow_change",
    )

    window_id: str
    window: str  # its name


class MaintenanceWindowCreated(MaintenanceWindowEvent):
    """A maintenance window was created. The times are null if it repeats every week."""

    name = "maintenance_window.created"

    starts_at: datetime | None
    ends_at: datetime | None


class MaintenanceWindowUpdated(MaintenanceWindowEvent):
    """A maintenance window was changed. `changes` contains the old and new values."""

    name = "maintenance_window.updated"


class MaintenanceWindowDeleted(MaintenanceWindowEvent):
    """A maintenance window was deleted."""

    name = "maintenance_window.deleted"
    link = None
