"""What makes a device doubtful: where it was seen, and boxes that ask to come back."""

from typing import ClassVar

from django.db import models

from devices.registry.models.devices import Device
from tenants.constraints import SameTenant
from tenants.models import Role, TenantOwned


class Sighting(TenantOwned):
    """Somebody was there as this device; kept for as long as clones are looked for."""

    device = models.ForeignKey(
        Device, on_delete=models.CASCADE, related_name="sightings", db_index=False
    )
    at = models.DateTimeField()
    registering = models.BooleanField()  # else connecting
    network = models.CharField(max_length=45, blank=True)
    key_digest = models.CharField(max_length=64, blank=True)  # SHA-256 of the SPKI, hex

    class Meta(TenantOwned.Meta):
        ordering = ("at", "id")
        constraints = (SameTenant("device", name="sighting_of_its_tenants_device"),)
        indexes = (models.Index(fields=("device", "at"), name="sighting_of_device"),)

    def __str__(self) -> str:
        return f"{self.device_id} from {self.network}"


class Reregistration(TenantOwned):
    """A known box asked to register again; what a member decided, if anybody did."""

    device = models.OneToOneField(
        Device,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="reregistration",
    )
    asked_at = models.DateTimeField()
    address = models.GenericIPAddressField(null=True)
    decided_at = models.DateTimeField(null=True)
    allowed = models.BooleanField(default=False)

    seen_by: ClassVar[Role] = Role.OPERATOR

    class Meta(TenantOwned.Meta):
        constraints = (SameTenant("device", name="reregistration_of_its_tenants"),)

    def __str__(self) -> str:
        return f"{self.device_id} asks to register again"
