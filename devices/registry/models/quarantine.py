"""Models for clone detection and for re-registration requests."""

from typing import ClassVar

from django.db import models

from devices.registry import clones
from devices.registry.models.devices import Device
from tenants.constraints import SameTenant
from tenants.models import Role, TenantOwned


class CloneObservation(TenantOwned):
    """Something a device does rarely, such as a change of its key (see `registry.clones`).

    Rows older than `CLONE_WINDOW_SECONDS` are deleted with the next observation of the device.
    """

    device = models.ForeignKey(
        Device, on_delete=models.CASCADE, related_name="clone_observations", db_index=False
    )
    at = models.DateTimeField()
    kind = models.CharField(max_length=16, choices=[(kind, kind) for kind in clones.Kind])
    value = models.CharField(max_length=64, blank=True)
    previous = models.CharField(max_length=64, blank=True)

    class Meta(TenantOwned.Meta):
        ordering = ("at", "id")
        constraints = (SameTenant("device", name="clone_observation_of_its_tenants"),)
        indexes = (models.Index(fields=("device", "at"), name="clone_observation_of_device"),)

    def __str__(self) -> str:
        return f"{self.kind} of {self.device_id}"


class ReplacedToken(TenantOwned):
    """The digest of a device token that a new one has replaced.

    Its use shows that somebody else has the new one (see `registry.clones`).
    """

    device = models.ForeignKey(
        Device, on_delete=models.CASCADE, related_name="replaced_tokens", db_index=False
    )
    digest = models.CharField(max_length=64, unique=True)
    replaced_at = models.DateTimeField()

    view_role: ClassVar[Role] = Role.ADMIN

    class Meta(TenantOwned.Meta):
        constraints = (SameTenant("device", name="replaced_token_of_its_tenants"),)
        indexes = (models.Index(fields=("device", "replaced_at"), name="replaced_of_device"),)

    def __str__(self) -> str:
        return f"replaced token of {self.device_id}"


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
