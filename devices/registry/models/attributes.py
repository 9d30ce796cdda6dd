"""Models of custom attributes, which a tenant defines for its devices, and of notes."""

from typing import Any, Self

from django.db import models
from django.db.models import Q

from devices.registry.models.devices import Device
from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import Role, TenantOwned


class AttributeDefinitionQuerySet(models.QuerySet["AttributeDefinition"]):
    """Filters of attributes."""

    def in_use(self) -> Self:
        """Filter attributes that are not being deleted."""
        return self.filter(deleted_at__isnull=True)


class AttributeDefinition(TenantOwned):
    """An attribute that the devices of a tenant can have, such as the floor or the owner.

    A deleted attribute keeps its row until a worker has removed its values from all devices.
    """

    class Kind(models.TextChoices):
        TEXT = "text"
        NUMBER = "number"
        BOOLEAN = "boolean", "Yes or no"
        DATE = "date"
        CHOICE = "choice", "One of a list"

    key = models.CharField(max_length=32)
    label = models.CharField(max_length=64)
    kind = models.CharField(max_length=7, choices=Kind.choices)
    choices: Any = models.JSONField(default=list, blank=True)  # texts, of the kind `choice`
    deleted_at = models.DateTimeField(null=True, editable=False)

    manage_role = Role.ADMIN

    objects = TenantManager.from_queryset(AttributeDefinitionQuerySet)()
    every_tenant = AttributeDefinitionQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        verbose_name = "attribute"
        ordering = ("label", "id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "key"), name="attribute_key_once"),
        )
        indexes = (
            models.Index(
                fields=("deleted_at",),
                condition=Q(deleted_at__isnull=False),
                name="attribute_being_deleted",
            ),
        )

    def __str__(self) -> str:
        return self.label


class DeviceAttributes(TenantOwned):
    """The notes about a device, and the values of its attributes by key.

    They are not in the device's row, which is updated every minute. There is no index of the
    values, because row-level security keeps PostgreSQL from using one for JSON operators.
    """

    device = models.OneToOneField(
        Device, on_delete=models.CASCADE, primary_key=True, related_name="attributes"
    )
    notes = models.TextField(max_length=4000, blank=True)
    values: Any = models.JSONField(default=dict)

    objects = TenantManager()
    every_tenant = models.Manager()  # a manager, not a field

    class Meta(TenantOwned.Meta):
        constraints = (SameTenant("device", name="attributes_of_its_tenants_device"),)

    def __str__(self) -> str:
        return f"attributes of {self.device_id}"
