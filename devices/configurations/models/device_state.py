"""Models of each device's effective configuration, reports, drift and recalculation."""

from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models

from devices.registry.models import Device, Site, Tag
from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import TenantOwned

VERSION_LENGTH = 64  # hexadecimal digits of SHA-256


class EffectiveDocument(TenantOwned):
    """A merged document of all layers of some devices, identified by the document's hash.

    A row is kept while its version is assigned to a device or is in a device's last
    report. After the last assignment, the row is also kept for the retention time. A report
    of an old version can therefore be distinguished from a report of an unknown version.
    """

    version = models.CharField(max_length=VERSION_LENGTH)
    document = models.JSONField()
    wanted_at = models.DateTimeField()  # when a device last had this version

    class Meta(TenantOwned.Meta):
        constraints = (
            models.UniqueConstraint(fields=("tenant", "version"), name="effective_document_once"),
        )

    def __str__(self) -> str:
        return self.version


class ReportedConfiguration(TenantOwned):
    """The last report of a device about its configuration."""

    class Outcome(models.TextChoices):
        APPLIED = "applied"
        FAILED = "failed"

    device = models.OneToOneField(
        Device, on_delete=models.CASCADE, primary_key=True, related_name="reported_configuration"
    )
    version = models.CharField(max_length=VERSION_LENGTH)
    outcome = models.CharField(max_length=7, choices=Outcome.choices)
    reason = models.CharField(max_length=500, blank=True)
    failed_keys = ArrayField(models.CharField(max_length=80), default=list)
    # The configuration in use, if the device reports that it differs from the version.
    document = models.JSONField(null=True)
    # The last version that was applied; empty if unknown.
    applied_version = models.CharField(max_length=VERSION_LENGTH, blank=True)
    reported_at = models.DateTimeField()

    class Meta(TenantOwned.Meta):
        constraints = (SameTenant("device", name="report_of_its_tenants_device"),)

    def __str__(self) -> str:
        return f"{self.outcome} {self.version[:12]}"


class DriftQuerySet(models.QuerySet["ConfigurationDrift"]):
    """Filters for drifts."""

    def announced(self) -> Self:
        return self.filter(announced_at__isnull=False)


class ConfigurationDrift(TenantOwned):
    """An online device that has not applied its desired configuration for a long time.

    The row is created at half of the time limit, and the event is published at the limit
    (`announced_at`). If the device goes offline before the limit, the row is deleted, so
    that the device has time to fetch its configuration when it comes back online.
    """

    device = models.OneToOneField(
        Device, on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    noticed_at = models.DateTimeField()
    announced_at = models.DateTimeField(null=True)

    objects = TenantManager.from_queryset(DriftQuerySet)()
    every_tenant = DriftQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        constraints = (SameTenant("device", name="drift_of_its_tenants_device"),)

    def __str__(self) -> str:
        return f"drift of {self.device_id}"


class Round(TenantOwned):
    """A recalculation of the effective configurations of a tenant's, site's or tag's devices.

    A round processes the devices in the order of their ids, in batches. If a layer
    changes during the round, the round starts again at the first device after it has
    processed the last device. The restarted round ends at the position that the round had
    at the time of the change (`until`).
    """

    tag = models.ForeignKey(Tag, on_delete=models.CASCADE, null=True, related_name="+")
    site = models.ForeignKey(Site, on_delete=models.CASCADE, null=True, related_name="+")
    asked_at = models.DateTimeField()
    worked_at = models.DateTimeField()
    position = models.UUIDField(null=True)  # the last processed device
    until = models.UUIDField(null=True)
    is_last_lap = models.BooleanField(default=False)
    done = models.PositiveIntegerField(default=0)
    changed = models.PositiveIntegerField(default=0)

    class Meta(TenantOwned.Meta):
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "tag", "site"),
                nulls_distinct=False,
                name="one_round_of_a_subject",
            ),
            SameTenant("tag", name="round_of_its_tenants_tag"),
            SameTenant("site", name="round_of_its_tenants_site"),
        )

    def __str__(self) -> str:
        return f"round since {self.asked_at}"
