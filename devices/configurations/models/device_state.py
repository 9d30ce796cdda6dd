"""What comes of the layers: what each device should have, and what it says of that."""

from typing import ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models

from devices.registry.models import Device, Tag
from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import TenantOwned

VERSION_LENGTH = 64  # hexadecimal digits of SHA-256


class EffectiveDocument(TenantOwned):
    """What all layers come to for some devices, known by the hash of what it says.

    Kept as long as a device should have it or has it, and some time longer, so that
    what a device reports can be told from what never was.
    """

    version = models.CharField(max_length=VERSION_LENGTH)
    document = models.JSONField()
    wanted_at = models.DateTimeField()  # last

    class Meta(TenantOwned.Meta):
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "version"), name="effective_document_once"
            ),
        )

    def __str__(self) -> str:
        return self.version


class ReportedConfiguration(TenantOwned):
    """What a device last said of its configuration."""

    class Outcome(models.TextChoices):
        APPLIED = "applied"
        FAILED = "failed"

    device = models.OneToOneField(
        Device,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="reported_configuration",
    )
    version = models.CharField(max_length=VERSION_LENGTH)
    outcome = models.CharField(max_length=7, choices=Outcome.choices)
    reason = models.CharField(max_length=500, blank=True)
    failed_keys = ArrayField(models.CharField(max_length=80), default=list)
    # What the device has now in fact, where it says so.
    document = models.JSONField(null=True)
    applied_version = models.CharField(max_length=VERSION_LENGTH, blank=True)  # last
    reported_at = models.DateTimeField()

    class Meta(TenantOwned.Meta):
        constraints = (SameTenant("device", name="report_of_its_tenants_device"),)

    def __str__(self) -> str:
        return f"{self.outcome} {self.version[:12]}"


class DriftQuerySet(models.QuerySet["ConfigurationDrift"]):
    """Questions about drifts; each returns a narrower queryset."""

    def announced(self) -> Self:
        return self.filter(announced_at__isnull=False)


class ConfigurationDrift(TenantOwned):
    """A device that is online and has not for long what it should have.

    The row is made before the time is up, and begins anew when the device was offline:
    a device that comes back gets time to fetch its configuration.
    """

    device = models.OneToOneField(
        Device, on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    noticed_at = models.DateTimeField()
    announced_at = models.DateTimeField(null=True)

    objects: ClassVar = TenantManager.from_queryset(DriftQuerySet)()
    every_tenant: ClassVar = DriftQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        constraints = (SameTenant("device", name="drift_of_its_tenants_device"),)

    def __str__(self) -> str:
        return f"drift of {self.device_id}"


class RoundQuerySet(models.QuerySet["Round"]):
    """Questions about rounds; each returns a narrower queryset."""

    def by_turn(self) -> Self:
        """The one that has waited longest first."""
        return self.order_by("worked_at", "id")


class Round(TenantOwned):
    """What devices should have is worked out anew, for all of a tenant or of a tag.

    It goes through the devices by their id, batch by batch. What changes meanwhile makes
    it go on past the end from the beginning, up to where it then was (`until`).
    """

    tag = models.ForeignKey(Tag, on_delete=models.CASCADE, null=True, related_name="+")
    asked_at = models.DateTimeField()
    worked_at = models.DateTimeField()
    position = models.UUIDField(null=True)  # the last device done
    until = models.UUIDField(null=True)
    is_last_lap = models.BooleanField(default=False)
    done = models.PositiveIntegerField(default=0)
    changed = models.PositiveIntegerField(default=0)

    objects: ClassVar = TenantManager.from_queryset(RoundQuerySet)()
    every_tenant: ClassVar = RoundQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "tag"),
                nulls_distinct=False,
                name="one_round_at_a_time",
            ),
            SameTenant("tag", name="round_of_its_tenants_tag"),
        )

    def __str__(self) -> str:
        return f"round since {self.asked_at}"
