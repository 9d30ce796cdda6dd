"""Models for clone detection and for re-registration requests."""

from typing import ClassVar

from django.db import models

from devices.registry.models.devices import Device
from tenants.constraints import SameTenant
from tenants.models import Role, TenantOwned


class Sighting(TenantOwned):
    """The network and the key that a device used when it registered or connected.

    Sightings are kept for clone detection. Rows older than `CLONE_WINDOW_SECONDS` are deleted.
    """

    device = models.ForeignKey(
        Device, on_delete=models.CASCADE, related_name="sightings", db_index=False
    )
    at = models.DateTimeField()
    registering = models.BooleanField()  # False: connecting
    network = models.CharField(max_length=45, blank=True)
    key_digest = models.CharField(max_length=64, blank=True)  # SHA-256 of the SPKI, hex

    class Meta(TenantOwned.Meta):
        ordering = ("at", "id")
        constraints = (SameTenant("device", name="sighting_of_its_tenants_device"),)
        indexes = (models.Index(fields=("device", "at"), name="sighting_of_device"),)

    def __str__(self) -> str:
        return f"{self.device_id} from {self.network}"


class Reregistration(TenantOwned):
    """The last request of a registered device to register again, and a member's decision."""

    device = models.OneToOneField(
        Device, on_delete=models.CASCADE, primary_key=True, related_name="reregistration"
    )
    asked_at = models.DateTimeField()
    address = models.GenericIPAddressField(null=True)
    decided_at = models.DateTimeField(null=True)
    allowed = models.BooleanField(default=False)

    view_role: ClassVar[Role] = Role.OPERATOR

    class Meta(TenantOwned.Meta):
        constraints = (SameTenant("device", name="reregistration_of_its_tenants"),)

    def __str__(self) -> str:
        return f"re-registration of {self.device_id}"
