"""What is wanted of devices, layer by layer and version by version, and what they report."""

import uuid
from typing import ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from devices.models import Device, Tag
from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import TenantOwned

VERSION_LENGTH = 64  # hexadecimal digits of SHA-256


class Scope(models.TextChoices):
    """Whom a layer is for, the weakest first."""

    PLATFORM = "platform", "every tenant"
    TENANT = "tenant", "all devices"
    TAG = "tag", "devices with a tag"
    DEVICE = "device", "one device"


class Layer(models.Model):
    """A document that is laid over those of weaker layers; `number` is its version's."""

    number = models.PositiveIntegerField(default=0)
    document = models.JSONField(default=dict)
    updated_at = models.DateTimeField()

    class Meta:
        abstract = True


class SavedVersion(models.Model):
    """A layer's document as it was saved once; never changed, never removed."""

    number = models.PositiveIntegerField()
    document = models.JSONField()
    note = models.CharField(max_length=500, blank=True)
    author_name = models.CharField(max_length=254)
    saved_at = models.DateTimeField()
    restored_number = models.PositiveIntegerField(null=True)  # what it brought back

    class Meta:
        abstract = True


class PlatformConfiguration(Layer):
    """The weakest layer: what holds for every tenant of this installation. One row."""

    id = models.SmallIntegerField(primary_key=True, default=1, editable=False)

    scope: ClassVar[str] = Scope.PLATFORM.value

    class Meta:
        verbose_name_plural = "platform configuration"
        constraints = (
            models.CheckConstraint(
                name="platform_configuration_once", condition=Q(id=1)
            ),
        )

    def __str__(self) -> str:
        return "Platform"


class PlatformConfigurationVersion(SavedVersion):
    configuration = models.ForeignKey(
        PlatformConfiguration, on_delete=models.PROTECT, related_name="versions"
    )

    class Meta:
        ordering = ("-number",)
        constraints = (
            models.UniqueConstraint(
                fields=("configuration", "number"), name="platform_version_once"
            ),
        )

    def __str__(self) -> str:
        return f"version {self.number}"


class ConfigurationQuerySet(models.QuerySet["DeviceConfiguration"]):
    """Questions about layers; each returns a narrower queryset."""

    def of_tags(self) -> Self:
        """Those of tags, the weakest first."""
        return self.filter(scope=Scope.TAG).order_by("rank")

    def saying_something(self) -> Self:
        return self.exclude(document={})


class DeviceConfiguration(TenantOwned, Layer):
    """A layer of a tenant: for all its devices, for those with a tag, or for one.

    Of several tags that a device wears, the one with the higher rank is the stronger.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    scope = models.CharField(max_length=8, choices=Scope.choices)
    tag = models.ForeignKey(
        Tag, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    device = models.ForeignKey(
        Device, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    rank = models.PositiveIntegerField(null=True)

    objects: ClassVar = TenantManager.from_queryset(ConfigurationQuerySet)()
    every_tenant: ClassVar = ConfigurationQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        verbose_name = "configuration"
        ordering = ("scope", "rank", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "id"), name="configuration_with_its_tenant"
            ),
            models.UniqueConstraint(
                fields=("tenant",),
                condition=Q(scope="tenant"),
                name="configuration_once_a_tenant",
            ),
            models.UniqueConstraint(
                fields=("tag",),
                condition=Q(tag__isnull=False),
                name="configuration_once_a_tag",
            ),
            models.UniqueConstraint(
                fields=("device",),
                condition=Q(device__isnull=False),
                name="configuration_once_a_device",
            ),
            models.UniqueConstraint(
                fields=("tenant", "rank"), name="one_tag_at_a_rank"
            ),
            SameTenant("tag", name="configuration_of_its_tenants_tag"),
            SameTenant("device", name="configuration_of_its_tenants_device"),
            models.CheckConstraint(
                name="configuration_names_its_subject",
                condition=Q(
                    scope="tenant",
                    tag__isnull=True,
                    device__isnull=True,
                    rank__isnull=True,
                )
                | Q(
                    scope="tag",
                    tag__isnull=False,
                    device__isnull=True,
                    rank__isnull=False,
                )
                | Q(
                    scope="device",
                    tag__isnull=True,
                    device__isnull=False,
                    rank__isnull=True,
                ),
            ),
        )

    def __str__(self) -> str:
        match self.scope:
            case Scope.TAG:
                return f"Tag {self.tag}"
            case Scope.DEVICE:
                return f"Device {self.device}"
            case _:
                return "All devices"


class ConfigurationVersion(TenantOwned, SavedVersion):
    """A version of a tenant's layer."""

    configuration = models.ForeignKey(
        DeviceConfiguration, on_delete=models.PROTECT, related_name="versions"
    )

    class Meta(TenantOwned.Meta):
        ordering = ("-number",)
        constraints = (
            models.UniqueConstraint(
                fields=("configuration", "number"), name="configuration_version_once"
            ),
            SameTenant("configuration", name="version_of_its_tenants_configuration"),
        )

    def __str__(self) -> str:
        return f"version {self.number}"


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


AnyLayer = PlatformConfiguration | DeviceConfiguration
AnyVersion = PlatformConfigurationVersion | ConfigurationVersion
