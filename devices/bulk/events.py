"""The domain events of bulk operations. Each changed device has events of its own as well."""

from typing import ClassVar

from events.domain_events import DomainEvent


class BulkEvent(DomainEvent):
    """Base of events about bulk operations."""

    link: ClassVar[tuple[str, str] | None] = ("operation_id", "admin:bulk_bulkoperation_change")

    operation_id: str
    action: str
    found: int  # devices that matched when it was started


class BulkOperationStarted(BulkEvent):
    """A member started an action on many devices."""

    name = "bulk_operation.started"


class BulkOperationEnded(BulkEvent):
    """An action on many devices has ended. The numbers count devices by result."""

    name = "bulk_operation.ended"

    state: str  # "finished", "cancelled" or "failed"
    done: int
    unchanged: int
    refused: int
