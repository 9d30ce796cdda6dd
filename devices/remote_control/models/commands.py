"""Commands to devices, and the screenshots that devices upload."""

import uuid
from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import Q

from devices.registry.models import Device
from devices.remote_control.command_types import CHOICES
from devices.remote_control.models.bulk import BulkCommand
from devices.remote_control.models.sessions import RemoteControlSession
from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import TenantOwned


class Status(models.TextChoices):
    """The status of a command. The last five values are final."""

    QUEUED = "queued"  # the device has not fetched it yet
    SENT = "sent"  # returned in a response to the device
    DELIVERED = "delivered"  # the device has confirmed that it received it
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"  # not fetched or not answered in time
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"  # replaced by a newer command of the same type


OPEN_STATUSES = (Status.QUEUED, Status.SENT, Status.DELIVERED, Status.RUNNING)


class CommandHistoryQuerySet(models.QuerySet["CommandHistory"]):
    """Filters on commands."""

    def open(self) -> Self:
        return self.filter(status__in=OPEN_STATUSES)

    def queued(self) -> Self:
        return self.filter(status=Status.QUEUED)

    def overdue(self, now: datetime) -> Self:
        return self.open().filter(due_at__lte=now)


class CommandHistory(TenantOwned):
    """One command to one device.

    The device must not start the command at or after `expires_at`. The command expires if
    the device has not fetched or answered it by `due_at`. When the device receives the
    command, `due_at` moves to a later time.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="commands")
    sequence = models.PositiveBigIntegerField()  # rises by one per device
    type = models.CharField(max_length=16, choices=CHOICES)
    parameters = models.JSONField(default=dict)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED)
    session = models.ForeignKey(
        RemoteControlSession, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    bulk = models.ForeignKey(
        BulkCommand, on_delete=models.SET_NULL, null=True, related_name="commands"
    )
    issued_by = models.CharField(max_length=254)
    issued_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    due_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)
    delivered_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    result = models.JSONField(null=True)
    reason = models.CharField(max_length=500, blank=True)  # why it did not succeed

    objects = TenantManager.from_queryset(CommandHistoryQuerySet)()
    every_tenant = CommandHistoryQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        verbose_name = "command"
        ordering = ("-issued_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("device", "sequence"), name="command_sequence_of_a_device"
            ),
            models.UniqueConstraint(fields=("tenant", "id"), name="command_with_its_tenant"),
            SameTenant("device", name="command_to_its_tenants_device"),
            SameTenant("session", name="command_of_its_tenants_session"),
            SameTenant("bulk", name="command_of_its_tenants_bulk"),
        )
        indexes = (
            models.Index(fields=("tenant", "-issued_at", "-id"), name="command_newest"),
            models.Index(fields=("device", "-issued_at", "-id"), name="command_newest_of_device"),
            models.Index(
                fields=("device", "sequence"),
                condition=Q(status__in=OPEN_STATUSES),
                name="command_open_of_device",
            ),
            models.Index(
                fields=("due_at",), condition=Q(status__in=OPEN_STATUSES), name="command_due"
            ),
            models.Index(
                fields=("tenant", "status", "-issued_at", "-id"), name="command_newest_of_status"
            ),
            models.Index(
                fields=("ended_at",), condition=Q(ended_at__isnull=False), name="command_outlived"
            ),
            models.Index(fields=("bulk", "status"), name="command_of_bulk"),
            models.Index(fields=("session", "-issued_at"), name="command_of_session"),
        )

    def __str__(self) -> str:
        return f"{self.get_type_display()} (no. {self.sequence})"

    def status_at(self, now: datetime) -> str:
        """Return the status at the given time. An overdue command counts as expired."""
        is_overdue = self.status in OPEN_STATUSES and self.due_at <= now
        return Status.EXPIRED.value if is_overdue else self.status


class Screenshot(TenantOwned):
    """A screenshot of a device's screen, deleted after a retention time.

    The image is stored in the database, so that every host can serve it and backups
    contain it. That is affordable because images are small and short-lived.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="screenshots")
    command = models.OneToOneField(
        CommandHistory, on_delete=models.CASCADE, related_name="screenshot"
    )
    taken_at = models.DateTimeField()
    content_type = models.CharField(max_length=10)
    width = models.PositiveIntegerField()  # pixels
    height = models.PositiveIntegerField()  # pixels
    size = models.PositiveIntegerField()  # bytes
    image = models.BinaryField()
    thumbnail = models.BinaryField(null=True)  # JPEG; null for images of earlier versions

    class Meta(TenantOwned.Meta):
        ordering = ("-taken_at", "-id")
        constraints = (
            SameTenant("device", name="screenshot_of_its_tenants_device"),
            SameTenant("command", name="screenshot_for_its_tenants_command"),
        )
        indexes = (
            models.Index(fields=("device", "-taken_at", "-id"), name="screenshot_newest"),
            models.Index(fields=("taken_at",), name="screenshot_outlived"),
        )

    def __str__(self) -> str:
        return f"{self.width}×{self.height}"
