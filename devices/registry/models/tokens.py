"""Models of enrollment tokens and device tokens."""

from typing import ClassVar, Literal

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from devices.registry.models.devices import Device
from devices.registry.models.sites import Site
from tenants.constraints import SameTenant
from tenants.models import IssuedToken, Role, TenantOwned


class ReregistrationPolicy(models.TextChoices):
    """How to treat a registered device that registers again."""

    ROTATE = "rotate", "Issue a new token"
    ASK = "ask", "Ask a member"
    REFUSE = "refuse", "Refuse"


class EnrollmentToken(IssuedToken):
    """An `enr_` token. Devices use the token to register in its tenant."""

    prefix = "enr_"
    noun = "enrollment_token"

    max_uses = models.PositiveIntegerField(null=True, blank=True)
    uses = models.PositiveIntegerField(default=0, editable=False)  # counted only if max_uses is set
    reregistration = models.CharField(
        "re-registration",
        max_length=8,
        choices=ReregistrationPolicy.choices,
        default=ReregistrationPolicy.ROTATE,
    )
    # What new devices get. The tags are names.
    tags = ArrayField(
        models.CharField(max_length=64), default=list, blank=True, db_default=[], editable=False
    )
    site = models.ForeignKey(
        Site, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )

    is_authenticated: Literal[True] = True
    is_active: Literal[True] = True

    class Meta(IssuedToken.Meta):
        abstract = False
        constraints = (
            models.CheckConstraint(
                name="enrollment_token_not_overused",
                condition=Q(max_uses__isnull=True) | Q(uses__lte=models.F("max_uses")),
            ),
            SameTenant("site", name="enrollment_at_its_tenants_site"),
        )


class DeviceToken(TenantOwned):
    """A device's `dev_` token. Each device has one row, which a new token overwrites."""

    prefix: ClassVar[str] = "dev_"

    device = models.OneToOneField(
        Device, on_delete=models.CASCADE, primary_key=True, related_name="token"
    )
    digest = models.CharField(max_length=64, unique=True)
    issued_at = models.DateTimeField()

    view_role = Role.ADMIN
    manage_role = Role.OPERATOR

    class Meta(TenantOwned.Meta):
        constraints = (SameTenant("device", name="token_of_its_tenants_device"),)

    def __str__(self) -> str:
        return f"token of {self.device_id}"
