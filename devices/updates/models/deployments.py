"""Models of rollouts and their waves."""

import uuid
from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import Q

from devices.updates.models.packages import SoftwareProduct, SoftwareUpdate
from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import TenantOwned, User

DEFAULT_SUCCESS_PERCENT, DEFAULT_FAILURE_PERCENT = 90.0, 3.0  # percent
DEFAULT_SOAK_MINUTES = 10  # minutes
DEFAULT_DEADLINE_MINUTES = 60  # minutes


class DeploymentQuerySet(models.QuerySet["Deployment"]):
    def due(self, now: datetime) -> Self:
        """Return the rollouts whose next step is due, in the order of `due_at`."""
        return self.filter(due_at__lte=now).order_by("due_at", "id")


class Deployment(TenantOwned):
    """A rollout of a package to the devices that match a filter, wave by wave.

    A rollback is a rollout without a package. `rolls_back` is the rollout that it reverts.
    `due_at` is when the next step is due; None if no step is left. A dynamic rollout also takes
    devices that match its filter later; `searched_at` is when it last looked for such devices.
    """

    class State(models.TextChoices):
        DRAFT = "draft"
        WAITING = "waiting", "waiting for approval"
        SCHEDULED = "scheduled"
        RUNNING = "running"
        PAUSED = "paused"
        FINISHED = "finished"
        ABORTED = "aborted"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120)
    product = models.ForeignKey(SoftwareProduct, on_delete=models.PROTECT, related_name="+")
    package = models.ForeignKey(
        SoftwareUpdate, on_delete=models.PROTECT, null=True, related_name="deployments"
    )
    rolls_back = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, related_name="rollbacks"
    )
    filter = models.JSONField(default=dict)  # filter parameters of device lists
    state = models.CharField(max_length=9, choices=State.choices, default=State.DRAFT)
    starts_at = models.DateTimeField(null=True)
    windows = models.JSONField(default=list)  # in the local time of each device
    dynamic = models.BooleanField(default=False, db_default=False)
    rate = models.PositiveIntegerField(null=True)  # devices per minute
    soak_minutes = models.PositiveIntegerField(default=DEFAULT_SOAK_MINUTES)
    deadline_minutes = models.PositiveIntegerField(default=DEFAULT_DEADLINE_MINUTES)
    success_percent = models.FloatField(default=DEFAULT_SUCCESS_PERCENT)
    failure_percent = models.FloatField(default=DEFAULT_FAILURE_PERCENT)

    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    requested_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    requested_at = models.DateTimeField(null=True)
    approved_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    counted = models.PositiveIntegerField(default=0)  # number of devices, fixed at the start
    begun_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    paused_because = models.CharField(max_length=200, blank=True)
    counts_from = models.DateTimeField(null=True)  # earlier failures do not count
    retries_before = models.DateTimeField(null=True)  # failures up to this time are retried
    opened = models.PositiveIntegerField(default=0)  # devices that were offered the update
    paced_from = models.DateTimeField(null=True)  # start of the current minute, for `rate`
    paced = models.PositiveIntegerField(default=0)  # devices offered the update in this minute
    searched_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)

    objects = TenantManager.from_queryset(DeploymentQuerySet)()
    every_tenant = DeploymentQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        verbose_name = "rollout"
        ordering = ("-created_at", "-id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "id"), name="deployment_with_its_tenant"),
            SameTenant("product", name="deployment_of_its_tenants_product"),
            SameTenant("package", name="deployment_of_its_tenants_package"),
            SameTenant("rolls_back", name="deployment_rolls_its_tenants_back"),
            models.CheckConstraint(
                name="deployment_goes_one_way",
                condition=Q(package__isnull=False, rolls_back__isnull=True)
                | Q(package__isnull=True, rolls_back__isnull=False),
            ),
        )
        indexes = (
            models.Index(fields=("tenant", "-created_at", "-id"), name="deployment_newest"),
            models.Index(
                fields=("due_at", "id"), condition=Q(due_at__isnull=False), name="deployment_due"
            ),
        )

    def __str__(self) -> str:
        return self.name


class DeploymentWave(TenantOwned):
    """A wave of a rollout. Its size includes the waves before it.

    Opening a wave means offering the update to its devices. `position` is the id of the
    last device that was checked while the wave was being opened. `ceiling` is the first
    position after the devices of the wave, in the order that `services.targets` describes.
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        PASSED = "passed"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="waves")
    number = models.PositiveSmallIntegerField()  # from 1
    percent = models.FloatField(null=True)
    count = models.PositiveIntegerField(null=True)
    starts_at = models.DateTimeField(null=True)
    state = models.CharField(max_length=7, choices=State.choices, default=State.WAITING)
    ceiling = models.BigIntegerField(null=True)
    position = models.UUIDField(null=True)
    is_open = models.BooleanField(default=False)  # all its devices were offered the update
    held_at = models.DateTimeField(null=True)  # when it began to wait for a decision
    opened_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    counts = models.JSONField(default=dict)  # devices by status, at `counted_at`
    counted_at = models.DateTimeField(null=True)

    class Meta(TenantOwned.Meta):
        verbose_name = "wave"
        ordering = ("number",)
        constraints = (
            models.UniqueConstraint(fields=("deployment", "number"), name="wave_number_once"),
            models.UniqueConstraint(fields=("tenant", "id"), name="wave_with_its_tenant"),
            SameTenant("deployment", name="wave_of_its_tenants_deployment"),
            models.CheckConstraint(
                name="wave_has_a_size",
                condition=Q(percent__isnull=False, count__isnull=True)
                | Q(percent__isnull=True, count__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return f"wave {self.number}"
