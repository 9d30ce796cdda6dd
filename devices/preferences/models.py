"""Models of preferences (definitions) and settings (values on devices)."""

from django.db import models

from devices.registry.models import Device
from tenants.constraints import SameTenant
from tenants.models import Role, TenantOwned


class Kind(models.TextChoices):
    """The type of a preference's value."""

    BOOLEAN = "boolean", "yes or no"
    INTEGER = "integer", "whole number"
    TEXT = "text"
    CHOICE = "choice"
    JSON = "json", "JSON"


class Definition(models.Model):
    """A preference: its type, its default, and whether devices may write it."""

    key = models.CharField(max_length=64)
    label = models.CharField(max_length=120)
    description = models.CharField(max_length=500, blank=True)
    kind = models.CharField(max_length=7, choices=Kind.choices)
    minimum = models.BigIntegerField(null=True, blank=True)  # for the kind integer
    maximum = models.BigIntegerField(null=True, blank=True)
    choices = models.JSONField(default=list, blank=True)
    default = models.JSONField()
    device_may_write = models.BooleanField(default=True)
    updated_at = models.DateTimeField(editable=False)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.label


class PlatformPreference(Definition):
    """A preference for the devices of all tenants."""

    key = models.CharField(max_length=64, primary_key=True)

    class Meta:
        ordering = ("key",)


class PreferenceDefinition(TenantOwned, Definition):
    """A tenant's own preference, or a tenant's default of a platform preference.

    A tenant cannot change the type of a platform preference. For a platform preference, the
    row only sets the label, the description, the default and whether devices may write the
    setting.
    """

    view_role = Role.VIEWER
    manage_role = Role.ADMIN

    class Meta(TenantOwned.Meta):
        verbose_name = "preference"
        ordering = ("key",)
        constraints = (models.UniqueConstraint(fields=("tenant", "key"), name="preference_once"),)


class DeviceSettings(TenantOwned):
    """The value and lock of one setting of one device.

    A row is kept when its definition is deleted. The row is used again if the definition
    is created again.
    """

    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="settings")
    key = models.CharField(max_length=64)
    value = models.JSONField(null=True)  # unused without `has_value`
    has_value = models.BooleanField(default=True)  # False: the default is used
    is_locked = models.BooleanField(default=False)
    version = models.PositiveIntegerField(default=0)
    written_by = models.CharField(max_length=254, blank=True)
    by_device = models.BooleanField(default=False)
    updated_at = models.DateTimeField()

    class Meta(TenantOwned.Meta):
        verbose_name_plural = "device settings"
        ordering = ("key", "id")
        constraints = (
            models.UniqueConstraint(fields=("device", "key"), name="setting_once_a_device"),
            SameTenant("device", name="setting_of_its_tenants_device"),
        )

    def __str__(self) -> str:
        return f"{self.key} of {self.device_id}"
