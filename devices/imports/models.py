"""Models of imports: the file, how it is read, and what happens to each row."""

import uuid
from typing import Any, ClassVar, Self

from django.db import models
from django.db.models import Q

from devices.registry.models import Device
from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import Role, TenantOwned, User


class ImportQuerySet(models.QuerySet["DeviceImport"]):
    """Filters on imports."""

    def unfinished(self) -> Self:
        """Filter imports that a worker has to continue."""
        return self.filter(state__in=DeviceImport.WORKING)


class DeviceImport(TenantOwned):
    """An import of devices from a file.

    The file is uploaded, a member confirms its columns, a worker checks all rows, the member
    sees what would happen and starts the import, and a worker imports row by row.
    `position` is the number of the last row that the worker has checked or imported.
    """

    class State(models.TextChoices):
        EMPTY = "empty", "waiting for a file"
        COLUMNS = "columns", "waiting for its columns"
        CHECKING = "checking"
        CHECKED = "checked", "waiting to be started"
        RUNNING = "running"
        FINISHED = "finished"
        FAILED = "failed"
        CANCELLED = "cancelled"

    WORKING: ClassVar = (State.CHECKING, State.RUNNING)
    OPEN: ClassVar = (State.EMPTY, State.COLUMNS, State.CHECKING, State.CHECKED, State.RUNNING)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    file_name = models.CharField("file", max_length=200, blank=True)
    size = models.PositiveIntegerField(default=0)  # bytes
    encoding = models.CharField(max_length=16, blank=True)
    separator = models.CharField(max_length=1, blank=True)
    # Per column: {"header": str, "field": str, "examples": [str]}
    columns: Any = models.JSONField(default=list)
    creates_sites = models.BooleanField(default=False)
    state = models.CharField(max_length=9, choices=State.choices, default=State.EMPTY)
    fault = models.CharField(max_length=500, blank=True)  # why the file cannot be read
    position = models.PositiveIntegerField(default=0)
    rows_checked = models.PositiveIntegerField(default=0)
    rows_imported = models.PositiveIntegerField(default=0)
    requested_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    requested_at = models.DateTimeField()
    worked_at = models.DateTimeField()  # when the worker has last continued it
    ended_at = models.DateTimeField(null=True)

    manage_role = Role.OPERATOR
    view_role = Role.OPERATOR  # a file may contain anything

    objects = TenantManager.from_queryset(ImportQuerySet)()
    every_tenant = ImportQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        verbose_name = "import"
        ordering = ("-requested_at", "-id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "id"), name="import_with_its_tenant"),
        )
        indexes = (
            models.Index(fields=("tenant", "-requested_at", "-id"), name="import_newest"),
            models.Index(
                fields=("worked_at",),
                condition=Q(state__in=("checking", "running")),
                name="import_unfinished",
            ),
        )

    def __str__(self) -> str:
        return self.file_name or "import without a file"


class ImportFile(TenantOwned):
    """The content of an uploaded file, a spreadsheet as CSV. It is deleted when the import ends."""

    device_import = models.OneToOneField(
        DeviceImport, on_delete=models.CASCADE, primary_key=True, related_name="file"
    )
    content = models.BinaryField()

    manage_role = Role.OPERATOR
    view_role = Role.OPERATOR

    objects = TenantManager()
    every_tenant: Any = models.Manager()

    class Meta(TenantOwned.Meta):
        verbose_name = "import file"
        constraints = (SameTenant("device_import", name="file_of_its_tenants_import"),)

    def __str__(self) -> str:
        return f"file of {self.device_import_id}"


class ImportRow(TenantOwned):
    """A row of an imported file, and what happens to it, or has happened."""

    class Outcome(models.TextChoices):
        NEW = "new"
        CHANGED = "changed"
        UNCHANGED = "unchanged"
        REPEATED = "repeated"
        REFUSED = "refused"

    APPLIED: ClassVar = (Outcome.NEW, Outcome.CHANGED, Outcome.UNCHANGED)

    device_import = models.ForeignKey(DeviceImport, on_delete=models.CASCADE, related_name="rows")
    number = models.PositiveIntegerField()  # as a spreadsheet shows it
    values: Any = models.JSONField()  # text by field
    outcome = models.CharField(max_length=9, choices=Outcome.choices)
    detail = models.CharField(max_length=1000, blank=True)
    device = models.ForeignKey(Device, on_delete=models.SET_NULL, null=True, related_name="+")
    is_imported = models.BooleanField(default=False)

    manage_role = Role.OPERATOR
    view_role = Role.OPERATOR

    objects = TenantManager()
    every_tenant: Any = models.Manager()

    class Meta(TenantOwned.Meta):
        verbose_name = "row of an import"
        verbose_name_plural = "rows of imports"
        ordering = ("device_import", "number")
        constraints = (
            models.UniqueConstraint(
                fields=("device_import", "number"), name="row_of_an_import_once"
            ),
            SameTenant("device_import", name="row_of_its_tenants_import"),
            SameTenant("device", name="row_of_its_tenants_device"),
        )

    def __str__(self) -> str:
        return f"row {self.number}"

    @property
    def shown(self) -> str:
        """What a person recognises the row by."""
        names = ("name", "serial_number", "android_id", "mac_addresses", "id")
        return next((self.values[name] for name in names if self.values.get(name)), "-")
