"""The domain events of imports."""

from typing import ClassVar

from events.domain_events import DomainEvent


class ImportEvent(DomainEvent):
    """Base of events about imports."""

    link: ClassVar[tuple[str, str] | None] = ("import_id", "admin:imports_deviceimport_change")

    import_id: str
    file_name: str


class ImportStarted(ImportEvent):
    """A member started the import of a checked file."""

    name = "import.started"


class ImportFinished(ImportEvent):
    """All rows of a file were imported or left out. The fields are numbers of rows by outcome."""

    name = "import.finished"

    new: int
    changed: int
    unchanged: int
    repeated: int
    refused: int


class ImportCancelled(ImportEvent):
    """A member cancelled an import. Rows that were imported already stay."""

    name = "import.cancelled"
