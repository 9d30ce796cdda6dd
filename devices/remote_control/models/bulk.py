"""Bulk commands: one command to many devices."""

import uuid
from typing import Self

from django.db import models
from django.db.models import Q

from devices.remote_control.command_types import CHOICES
from tenants.managers import TenantManager
from tenants.models import TenantOwned, User


class BulkQuerySet(models.QuerySet["BulkCommand"]):
    """Filters on bulk commands."""

    def running(self) -> Self:
        return self.filter(state=BulkCommand.State.RUNNING)

    def waiting(self) -> Self:
        return self.filter(state=BulkCommand.State.WAITING)


class BulkCommand(TenantOwned):
    """A command to every device that matches a filter.

    A task works through the devices in the order of their ids, batch by batch.
    `position` is the id of the last processed device, so an interrupted task can continue.
    """

    class State(models.TextChoices):
        WAITING = "waiting", "waiting for confirmation"
        RUNNING = "running"
        FINISHED = "finished"
        CANCELLED = "cancelled"
        LAPSED = "lapsed", "not confirmed in time"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    type = models.CharField(max_length=16, choices=CHOICES)
    parameters = models.JSONField(default=dict)
    filter = models.JSONField(default=dict)  # the parameters of `GET /devices`
    state = models.CharField(max_length=9, choices=State.choices)
    expires_at = models.DateTimeField()  # for each of its commands
    found = models.PositiveIntegerField()  # matching devices at the time of the request
    done = models.PositiveIntegerField(default=0)  # devices that were commanded
    left_out = models.PositiveIntegerField(
        default=0
    )  # skipped devices: controlled by a member, retired or quarantined
    worked_at = models.DateTimeField()  # when the last batch was processed
    position = models.UUIDField(null=True)  # id of the last device processed
    requested_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    requested_at = models.DateTimeField()
    confirmed_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    ended_at = models.DateTimeField(null=True)

    objects = TenantManager.from_queryset(BulkQuerySet)()
    every_tenant = BulkQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        verbose_name = "bulk command"
        ordering = ("-requested_at", "-id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "id"), name="bulk_with_its_tenant"),
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
        return f"{self.get_type_display()} to {self.found:,} devices"
