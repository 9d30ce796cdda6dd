"""Models of bulk operations: one action on many devices, and its result for each of them."""

import uuid
from typing import Any, Self

from django.db import models
from django.db.models import Q

from devices.registry.models import Device
from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import Role, TenantOwned, User


class BulkOperationQuerySet(models.QuerySet["BulkOperation"]):
    """Filters on bulk operations."""

    def running(self) -> Self:
        return self.filter(state=BulkOperation.State.RUNNING)


class BulkOperation(TenantOwned):
    """One action on all devices that match a filter.

    First, a worker stores which devices match, as results that wait. So exactly these devices
    are changed, whatever happens to the filter meanwhile. Then it goes through them in the order
    of their ids, batch by batch. `position` is the id of the last one, so an interrupted worker
    can continue.
    """

    class State(models.TextChoices):
        RUNNING = "running"
        FINISHED = "finished"
        CANCELLED = "cancelled"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    action = models.CharField(max_length=32)  # name of a `BulkAction`
    parameters: Any = models.JSONField(default=dict)
    filter: Any = models.JSONField(default=dict)  # the parameters of `GET /devices`
    state = models.CharField(max_length=9, choices=State.choices, default=State.RUNNING)
    found = models.PositiveIntegerField()  # matching devices at the start
    done = models.PositiveIntegerField(default=0)
    unchanged = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    is_prepared = models.BooleanField(default=False)  # its devices are known
    position = models.UUIDField(null=True)
    failures = models.PositiveSmallIntegerField(default=0)  # of a batch, by an unexpected error
    undoes = models.OneToOneField(
        "self", on_delete=models.CASCADE, null=True, related_name="undone_by"
    )
    requested_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    requested_at = models.DateTimeField()
    worked_at = models.DateTimeField()  # when a worker has last continued it
    ended_at = models.DateTimeField(null=True)

    manage_role = Role.OPERATOR

    objects = TenantManager.from_queryset(BulkOperationQuerySet)()
    every_tenant = BulkOperationQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        verbose_name = "bulk operation"
        ordering = ("-requested_at", "-id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "id"), name="bulk_operation_with_its_tenant"),
            SameTenant("undoes", name="undo_of_its_tenants_operation"),
        )
        indexes = (
            models.Index(fields=("tenant", "-requested_at", "-id"), name="bulk_operation_newest"),
            models.Index(
                fields=("worked_at",), condition=Q(state="running"), name="bulk_operation_running"
            ),
            models.Index(fields=("requested_at",), name="bulk_operation_oldest"),
        )

    def __str__(self) -> str:
        return f"{self.action} for {self.found:,} devices"

    @property
    def ended(self) -> int:
        """Devices that the worker has gone through."""
        return self.done + self.unchanged + self.refused


class BulkResult(TenantOwned):
    """What a bulk operation did with a device."""

    class Outcome(models.TextChoices):
        WAITING = "waiting"
        DONE = "done"
        UNCHANGED = "unchanged"
        REFUSED = "refused"

    # The constraints of `Meta` contain the foreign keys.
    operation = models.ForeignKey(
        BulkOperation,
        on_delete=models.CASCADE,
        related_name="results",
        db_index=False,
        db_constraint=False,
    )
    device = models.ForeignKey(
        Device, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    outcome = models.CharField(max_length=9, choices=Outcome.choices)
    detail = models.CharField(max_length=300, blank=True)
    before: Any = models.JSONField(null=True)  # what an undo needs

    manage_role = Role.OPERATOR

    objects = TenantManager()
    every_tenant: Any = models.Manager()

    class Meta(TenantOwned.Meta):
        verbose_name = "result of a bulk operation"
        verbose_name_plural = "results of bulk operations"
        ordering = ("operation", "device")
        constraints = (
            models.UniqueConstraint(fields=("operation", "device"), name="one_result_per_device"),
            SameTenant("operation", name="result_of_its_tenants_operation"),
            SameTenant("device", name="result_of_its_tenants_device"),
        )

    def __str__(self) -> str:
        return f"{self.device_id}: {self.outcome}"
