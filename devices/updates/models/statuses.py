"""Model of the status of each device in a rollout."""

from typing import Self

from django.db import models
from django.db.models import Q

from devices.registry.models import Device
from devices.updates.models.deployments import Deployment, DeploymentWave
from devices.updates.models.packages import SoftwareUpdate
from devices.updates.versions import MAX_VERSION_LENGTH
from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import TenantOwned


class Status(models.TextChoices):
    """Status of an update on a device. The last four values are final."""

    PENDING = "pending"  # the device has not started; it may be offline
    DOWNLOADING = "downloading"
    INSTALLING = "installing"  # until the end of the soak time
    COMPLETED = "completed"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back", "rolled back"
    CANCELLED = "cancelled"  # for example because the rollout was aborted


OPEN = (Status.PENDING, Status.DOWNLOADING, Status.INSTALLING)
STOPPABLE = (Status.PENDING, Status.DOWNLOADING)
UNDER_WAY = (Status.DOWNLOADING, Status.INSTALLING)


class UpdateStatusQuerySet(models.QuerySet["UpdateStatus"]):
    def open(self) -> Self:
        return self.filter(status__in=OPEN)

    def stoppable(self) -> Self:
        """Updates that can still be cancelled, because the device is not installing yet."""
        return self.filter(status__in=STOPPABLE)

    def under_way(self) -> Self:
        return self.filter(status__in=UNDER_WAY)


class UpdateStatus(TenantOwned):
    """The update of a device in a rollout. Rows are kept as the device's update history.

    `version` is the target version, and `package` is the package of this version. A
    rollback can have a target version without a package. `status_since` is when the device
    began to download or to install. `installations` counts how often it reported that it has
    installed the version in this attempt. `installed_at` is when the device was first online
    with the target version.
    """

    # The foreign keys need no index, because the indexes below start with these columns.
    deployment = models.ForeignKey(
        Deployment, on_delete=models.CASCADE, related_name="statuses", db_index=False
    )
    wave = models.ForeignKey(
        DeploymentWave, on_delete=models.CASCADE, related_name="statuses", db_index=False
    )
    device = models.ForeignKey(
        Device, on_delete=models.CASCADE, related_name="updates", db_index=False
    )
    package = models.ForeignKey(
        SoftwareUpdate, on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    version = models.CharField(max_length=MAX_VERSION_LENGTH)
    from_version = models.CharField(max_length=MAX_VERSION_LENGTH, blank=True)
    status = models.CharField(max_length=11, choices=Status.choices, default=Status.PENDING)
    progress = models.PositiveSmallIntegerField(default=0)  # percent of download or installation
    attempt = models.PositiveSmallIntegerField(default=1)
    error_code = models.CharField(max_length=64, blank=True)
    error = models.CharField(max_length=500, blank=True)
    opened_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    status_since = models.DateTimeField(null=True)
    # A positive field would have a check, which scans the whole table.
    installations = models.SmallIntegerField(default=0, db_default=0)
    heard_at = models.DateTimeField(null=True)
    installed_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    objects = TenantManager.from_queryset(UpdateStatusQuerySet)()
    every_tenant = UpdateStatusQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        verbose_name = "update of a device"
        verbose_name_plural = "updates of devices"
        ordering = ("-opened_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("deployment", "device"), name="device_once_in_a_deployment"
            ),
            SameTenant("deployment", name="status_of_its_tenants_deployment"),
            SameTenant("wave", name="status_of_its_tenants_wave"),
            SameTenant("device", name="status_of_its_tenants_device"),
            SameTenant("package", name="status_of_its_tenants_package"),
        )
        indexes = (
            models.Index(fields=("device", "-opened_at", "-id"), name="update_history"),
            models.Index(fields=("device",), condition=Q(status__in=OPEN), name="update_open"),
            models.Index(fields=("wave", "status"), name="update_of_wave"),
            models.Index(
                fields=("package",), condition=Q(status__in=STOPPABLE), name="update_stoppable"
            ),
            models.Index(
                fields=("deployment", "heard_at"),
                condition=Q(status__in=UNDER_WAY),
                name="update_under_way",
            ),
            models.Index(
                fields=("deployment", "error_code", "id"),
                condition=Q(status="failed"),
                name="update_failed",
            ),
            models.Index(
                fields=("deployment", "ended_at"),
                condition=Q(ended_at__isnull=False),
                name="update_ended",
            ),
        )

    def __str__(self) -> str:
        return f"{self.version}: {self.get_status_display()}"
