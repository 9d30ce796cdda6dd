"""Models of the hawkBit API: settings, gateway tokens, targets and actions."""

from typing import Literal, Self

from django.db import models
from django.db.models import Q

from devices.registry.models import Device
from devices.updates.models import Deployment
from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import IssuedToken, Role, TenantOwned

DEFAULT_POLLING_SECONDS = 60


class HawkbitSettings(TenantOwned):
    """Whether a tenant's devices may use the API. A tenant without a row has it switched off."""

    is_enabled = models.BooleanField("enabled", default=False)
    polling_seconds = models.PositiveIntegerField(default=DEFAULT_POLLING_SECONDS)
    updated_at = models.DateTimeField()

    view_role = Role.VIEWER
    manage_role = Role.ADMIN

    class Meta(TenantOwned.Meta):
        verbose_name = "hawkBit setting"
        constraints = (
            models.UniqueConstraint(fields=("tenant",), name="one_hawkbit_setting_of_a_tenant"),
        )

    def __str__(self) -> str:
        return "hawkBit"


class GatewayToken(IssuedToken):
    """A `gwt_` token. A gateway uses it for all devices of its tenant, on this API only."""

    prefix = "gwt_"
    noun = "gateway_token"

    registers_devices = models.BooleanField(default=False)  # that are unknown

    is_authenticated: Literal[True] = True
    is_active: Literal[True] = True

    class Meta(IssuedToken.Meta):
        abstract = False
        verbose_name = "gateway token"


class HawkbitTarget(TenantOwned):
    """What a device has sent about itself as hawkBit attributes, as text by name."""

    device = models.OneToOneField(
        Device, on_delete=models.CASCADE, primary_key=True, related_name="hawkbit_target"
    )
    attributes = models.JSONField(default=dict)
    attributes_at = models.DateTimeField()

    class Meta(TenantOwned.Meta):
        constraints = (SameTenant("device", name="hawkbit_target_of_its_tenants_device"),)

    def __str__(self) -> str:
        return f"attributes of {self.device_id}"


class HawkbitActionQuerySet(models.QuerySet["HawkbitAction"]):
    def open(self) -> Self:
        return self.filter(closed_at__isnull=True)


class HawkbitAction(TenantOwned):
    """The id under which a device knows an attempt of its update, and what it said about it.

    Some devices read ids as numbers of 32 bits, so an id is a number. An action is open until the device reports its end,
    or until it has confirmed that the update was cancelled.
    """

    id = models.BigAutoField(primary_key=True)
    device = models.ForeignKey(
        Device, on_delete=models.CASCADE, related_name="hawkbit_actions", db_index=False
    )
    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="+")
    attempt = models.PositiveSmallIntegerField()
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    has_succeeded = models.BooleanField(default=False)
    messages = models.JSONField(default=list)  # of the device, the newest last

    objects = TenantManager.from_queryset(HawkbitActionQuerySet)()
    every_tenant = HawkbitActionQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("device", "deployment", "attempt"), name="hawkbit_action_once"
            ),
            SameTenant("device", name="hawkbit_action_of_its_tenants_device"),
            SameTenant("deployment", name="hawkbit_action_of_its_tenants_rollout"),
        )
        indexes = (
            models.Index(
                fields=("device",), condition=Q(closed_at__isnull=True), name="hawkbit_open"
            ),
            models.Index(
                fields=("device", "-id"), condition=Q(has_succeeded=True), name="hawkbit_installed"
            ),
        )

    def __str__(self) -> str:
        return f"action {self.pk}"
