"""A tenant's remote control policy, and the keys that sign its commands."""

import uuid
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from devices.remote_control.command_types import CHOICES, TYPES
from tenants.models import Role, TenantOwned

DEFAULT_BLAST_RADIUS = 50  # devices
SCREENSHOT_INTERVALS = {
    0: "Off",
    15: "Every 15 minutes",
    60: "Every hour",
    360: "Every 6 hours",
    1440: "Every day",
}


def every_type() -> list[str]:
    return list(TYPES)


class RemoteControlPolicy(TenantOwned):
    """Which commands a tenant's members may issue, and to how many devices at once.

    A tenant without a row has the default policy: all types are allowed.
    """

    allowed_types = ArrayField(
        models.CharField(max_length=16, choices=CHOICES), default=every_type, blank=True
    )
    blast_radius = models.PositiveIntegerField(
        default=DEFAULT_BLAST_RADIUS,
        help_text=(
            "A bulk command to more devices than this must be confirmed by a second member."
        ),
    )
    # Minutes between the scheduled screenshots of a device, one of `SCREENSHOT_INTERVALS`.
    screenshot_minutes = models.PositiveSmallIntegerField(default=0, db_default=0)
    updated_at = models.DateTimeField()

    view_role = Role.VIEWER
    manage_role = Role.ADMIN

    class Meta(TenantOwned.Meta):
        verbose_name = "remote control policy"
        verbose_name_plural = "remote control policies"
        constraints = (models.UniqueConstraint(fields=("tenant",), name="one_policy_of_a_tenant"),)

    def __str__(self) -> str:
        return "Remote control policy"


class SigningKey(TenantOwned):
    """A signing key of a tenant: one is active for each purpose and algorithm.

    It is an Ed25519 key (RFC 8032) for `EdDSA`, or a P-256 key for `ES256`.
    """

    purpose: ClassVar[str]  # the encryption purpose of its private key

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    thumbprint = models.CharField(max_length=43, unique=True)  # RFC 7638
    algorithm = models.CharField(max_length=5, default="EdDSA", db_default="EdDSA")
    # base64url of 32 bytes; of a P-256 key, x and y
    public_key = models.CharField(max_length=86)
    private_key = models.CharField(max_length=255, editable=False)  # encrypted
    made_at = models.DateTimeField()
    replaced_at = models.DateTimeField(null=True)

    view_role: ClassVar[Role] = Role.ADMIN
    manage_role: ClassVar[Role] = Role.ADMIN

    class Meta(TenantOwned.Meta):
        abstract = True
        ordering = ("-made_at",)

    def __str__(self) -> str:
        return self.thumbprint


class CommandSigningKey(SigningKey):
    """A key that signs a tenant's commands.

    Commands are signed when a device fetches them. A replaced key is therefore
    published for a few minutes only, until commands in transit have arrived.
    """

    purpose = "command signing keys"

    class Meta(SigningKey.Meta):
        abstract = False
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "algorithm"),
                condition=Q(replaced_at__isnull=True),
                name="one_key_signs_commands",
            ),
        )
