"""Models of the configuration layers and their versions."""

import uuid
from typing import ClassVar, Self

from django.db import models
from django.db.models import Q

from devices.registry.models import Device, Site, Tag
from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import TenantOwned


class Scope(models.TextChoices):
    """The devices that a layer applies to. The members are ordered, the weakest layer first."""

    PLATFORM = "platform", "every tenant"
    TENANT = "tenant", "all devices"
    SITE = "site", "devices at a site"
    TAG = "tag", "devices with a tag"
    DEVICE = "device", "one device"


class Layer(models.Model):
    """A document that overrides weaker layers. `number` is the number of the current version."""

    number = models.PositiveIntegerField(default=0)
    document = models.JSONField(default=dict)
    updated_at = models.DateTimeField()

    class Meta:
        abstract = True


class SavedVersion(models.Model):
    """A saved version of a layer's document. Versions are never changed or deleted."""

    number = models.PositiveIntegerField()
    document = models.JSONField()
    note = models.CharField(max_length=500, blank=True)
    author_name = models.CharField(max_length=254)
    saved_at = models.DateTimeField()
    restored_number = models.PositiveIntegerField(null=True)  # set by a restore

    class Meta:
        abstract = True


class PlatformConfiguration(Layer):
    """The weakest layer, which applies to all tenants. The table has one row."""

    id = models.SmallIntegerField(primary_key=True, default=1, editable=False)

    scope: ClassVar[str] = Scope.PLATFORM.value

    class Meta:
        verbose_name_plural = "platform configuration"
        constraints = (
            models.CheckConstraint(name="platform_configuration_once", condition=Q(id=1)),
        )

    def __str__(self) -> str:
        return "Platform"


class PlatformConfigurationVersion(SavedVersion):
    """A version of the platform's layer."""

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
    """Filters for layers."""

    def of_tags(self) -> Self:
        """Return the tags' layers, the weakest first."""
        return self.filter(scope=Scope.TAG).order_by("rank")

    def not_empty(self) -> Self:
        return self.exclude(document={})


def _subject_is(scope: str, **columns: bool) -> Q:
    """Return the condition that a layer has this scope, and only these of the columns."""
    nulls = dict.fromkeys(("site", "tag", "device", "rank"), True)
    conditions = {f"{name}__isnull": is_null for name, is_null in nulls.items()}
    return Q(scope=str(scope), **{**conditions, **columns})


class DeviceConfiguration(TenantOwned, Layer):
    """A tenant's layer for all its devices, those at a site or with a tag, or one device.

    The layer of a site overrides those of the sites that it is in. If a device has several
    tags, the layer with the higher rank is the stronger one. The empty layer of a deleted site
    has no site, and keeps its versions.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    scope = models.CharField(max_length=8, choices=Scope.choices)
    tag = models.ForeignKey(Tag, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    device = models.ForeignKey(
        Device, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    site = models.ForeignKey(
        Site, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    rank = models.PositiveIntegerField(null=True)

    objects = TenantManager.from_queryset(ConfigurationQuerySet)()
    every_tenant = ConfigurationQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        verbose_name = "configuration"
        ordering = ("scope", "rank", "id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "id"), name="configuration_with_its_tenant"),
            models.UniqueConstraint(
                fields=("tenant",), condition=Q(scope="tenant"), name="configuration_once_a_tenant"
            ),
            models.UniqueConstraint(
                fields=("tag",), condition=Q(tag__isnull=False), name="configuration_once_a_tag"
            ),
            models.UniqueConstraint(
                fields=("device",),
                condition=Q(device__isnull=False),
                name="configuration_once_a_device",
            ),
            models.UniqueConstraint(
                fields=("site",), condition=Q(site__isnull=False), name="configuration_once_a_site"
            ),
            models.UniqueConstraint(fields=("tenant", "rank"), name="one_tag_at_a_rank"),
            SameTenant("site", name="configuration_of_its_tenants_site"),
            SameTenant("tag", name="configuration_of_its_tenants_tag"),
            SameTenant("device", name="configuration_of_its_tenants_device"),
            models.CheckConstraint(
                name="configuration_has_its_subject",
                condition=_subject_is(Scope.TENANT)
                | _subject_is(Scope.SITE, site__isnull=False)
                | _subject_is(Scope.SITE) & Q(document={})
                | _subject_is(Scope.TAG, tag__isnull=False, rank__isnull=False)
                | _subject_is(Scope.DEVICE, device__isnull=False),
            ),
        )

    def __str__(self) -> str:
        match self.scope:
            case Scope.SITE:
                return f"Site {self.site}" if self.site else "Deleted site"
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


AnyLayer = PlatformConfiguration | DeviceConfiguration
