"""One command to many devices at once."""

import uuid
from typing import ClassVar, Self

from django.db import models
from django.db.models import Q

from devices.remote_control.command_types import CHOICES
from tenants.managers import TenantManager
from tenants.models import TenantOwned, User


class BulkQuerySet(models.QuerySet["BulkCommand"]):
    """Questions about bulk commands; each returns a narrower queryset."""

    def running(self) -> Self:
        return self.filter(state=BulkCommand.State.RUNNING)

    def waiting(self) -> Self:
        return self.filter(state=BulkCommand.State.WAITING)


class BulkCommand(TenantOwned):
    """A command to every device that a filter finds.

    It goes through the devices by their id, batch by batch, and so goes on where it was
    after whatever interrupted it.
    """

    class State(models.TextChoices):
        WAITING = "waiting", "waiting for a second person"
        RUNNING = "running"
        FINISHED = "finished"
        CANCELLED = "cancelled"
        LAPSED = "lapsed", "not confirmed in time"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    type = models.CharField(max_length=16, choices=CHOICES)
    parameters = models.JSONField(default=dict)
    filter = models.JSONField(default=dict)  # as lists of devices are narrowed
    state = models.CharField(max_length=9, choices=State.choices)
    expires_at = models.DateTimeField()  # of each command
    found = models.PositiveIntegerField()  # devices, when it was asked for
    done = models.PositiveIntegerField(default=0)  # devices that have the command
    left_out = models.PositiveIntegerField(default=0)  # controlled, retired meanwhile
    worked_at = models.DateTimeField()
    position = models.UUIDField(null=True)  # the last device done
    requested_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    requested_at = models.DateTimeField()
    confirmed_by = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, related_name="+"
    )
    ended_at = models.DateTimeField(null=True)

    objects: ClassVar = TenantManager.from_queryset(BulkQuerySet)()
    every_tenant: ClassVar = BulkQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        verbose_name = "bulk command"
        ordering = ("-requested_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "id"), name="bulk_with_its_tenant"
            ),
        )
        indexes = (
            models.Index(fields=("tenant", "-requested_at", "-id"), name="bulk_newest"),
            models.Index(
                fields=("state", "worked_at"),
                condition=Q(state__in=("waiting", "running")),
                name="bulk_unfinished",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_type_display()}, to {self.found:,} devices"
