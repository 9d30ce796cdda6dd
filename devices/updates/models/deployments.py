"""Rollouts: which devices get which package, wave by wave."""

import uuid
from datetime import datetime
from typing import ClassVar, Self

from django.db import models
from django.db.models import Q

from devices.updates.models.packages import SoftwareProduct, SoftwareUpdate
from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import TenantOwned, User

USUAL_SUCCESS, USUAL_FAILURE = 90.0, 3.0  # percent
USUAL_SOAK = 10  # minutes
USUAL_DEADLINE = 60  # minutes


class DeploymentQuerySet(models.QuerySet["Deployment"]):
    """Questions about deployments; each returns a narrower queryset."""

    def due(self, now: datetime) -> Self:
        """Those that the tick has to look at, the longest due first."""
        return self.filter(due_at__lte=now).order_by("due_at", "id")


class Deployment(TenantOwned):
    """A package for the devices that a filter finds; or, of another one, the way back.

    Its waves are opened one after the other. `due_at` is when the tick looks at it next;
    None where nothing is left to be done.
    """

    class State(models.TextChoices):
        DRAFT = "draft"
        WAITING = "waiting", "waiting for a second person"
        SCHEDULED = "scheduled"
        RUNNING = "running"
        PAUSED = "paused"
        FINISHED = "finished"
        ABORTED = "aborted"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120)
    product = models.ForeignKey(
        SoftwareProduct, on_delete=models.PROTECT, related_name="+"
    )
    package = models.ForeignKey(
        SoftwareUpdate, on_delete=models.PROTECT, null=True, related_name="deployments"
    )
    rolls_back = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, related_name="ways_back"
    )
    filter = models.JSONField(default=dict)  # as lists of devices are narrowed
    state = models.CharField(max_length=9, choices=State.choices, default=State.DRAFT)
    starts_at = models.DateTimeField(null=True)
    windows = models.JSONField(default=list)  # by each device's own clock
    rate = models.PositiveIntegerField(null=True)  # devices a minute
    soak_minutes = models.PositiveIntegerField(default=USUAL_SOAK)
    deadline_minutes = models.PositiveIntegerField(default=USUAL_DEADLINE)
    success_percent = models.FloatField(default=USUAL_SUCCESS)
    failure_percent = models.FloatField(default=USUAL_FAILURE)

    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    requested_by = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, related_name="+"
    )
    requested_at = models.DateTimeField(null=True)
    approved_by = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, related_name="+"
    )
    counted = models.PositiveIntegerField(default=0)  # devices, when it was begun
    begun_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    paused_because = models.CharField(max_length=200, blank=True)
    counts_from = models.DateTimeField(null=True)  # of failures, that may pause it
    retries_before = models.DateTimeField(null=True)  # what failed until then
    opened = models.PositiveIntegerField(default=0)  # devices
    paced_from = models.DateTimeField(null=True)  # the minute that is counted
    paced = models.PositiveIntegerField(default=0)  # devices opened in it
    due_at = models.DateTimeField(null=True)

    objects: ClassVar = TenantManager.from_queryset(DeploymentQuerySet)()
    every_tenant: ClassVar = DeploymentQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        verbose_name = "rollout"
        ordering = ("-created_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "id"), name="deployment_with_its_tenant"
            ),
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
            models.Index(
                fields=("tenant", "-created_at", "-id"), name="deployment_newest"
            ),
            models.Index(
                fields=("due_at", "id"),
                condition=Q(due_at__isnull=False),
                name="deployment_due",
            ),
        )

    def __str__(self) -> str:
        return self.name


class DeploymentWave(TenantOwned):
    """A part of a deployment's devices, by size: so far, with the waves before it.

    `ceiling` is where its devices end in the order of their hashes; `position` the last
    device that was looked at while it was opened.
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        PASSED = "passed"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    deployment = models.ForeignKey(
        Deployment, on_delete=models.CASCADE, related_name="waves"
    )
    number = models.PositiveSmallIntegerField()  # from 1
    percent = models.FloatField(null=True)
    count = models.PositiveIntegerField(null=True)
    starts_at = models.DateTimeField(null=True)
    state = models.CharField(max_length=7, choices=State.choices, default=State.WAITING)
    ceiling = models.BigIntegerField(null=True)
    position = models.UUIDField(null=True)
    is_open = models.BooleanField(default=False)  # all of its devices have it
    held_at = models.DateTimeField(null=True)  # since when only a person gets it on
    opened_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    counts = models.JSONField(default=dict)  # devices by status, at `counted_at`
    counted_at = models.DateTimeField(null=True)

    class Meta(TenantOwned.Meta):
        verbose_name = "wave"
        ordering = ("number",)
        constraints = (
            models.UniqueConstraint(
                fields=("deployment", "number"), name="wave_number_once"
            ),
            models.UniqueConstraint(
                fields=("tenant", "id"), name="wave_with_its_tenant"
            ),
            SameTenant("deployment", name="wave_of_its_tenants_deployment"),
            models.CheckConstraint(
                name="wave_has_a_size",
                condition=Q(percent__isnull=False, count__isnull=True)
                | Q(percent__isnull=True, count__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return f"wave {self.number}"
