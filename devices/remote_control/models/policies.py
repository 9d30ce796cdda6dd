"""What a tenant has of its own: what may be commanded, and the keys that sign commands."""

import uuid
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from devices.remote_control.command_types import CHOICES, TYPES
from tenants.models import Role, TenantOwned

USUAL_BLAST_RADIUS = 50  # devices


def every_type() -> list[str]:
    return list(TYPES)


class RemoteControlPolicy(TenantOwned):
    """What a tenant's members may command; without a row, everything with usual limits."""

    allowed_types = ArrayField(
        models.CharField(max_length=16, choices=CHOICES), default=every_type, blank=True
    )
    blast_radius = models.PositiveIntegerField(
        default=USUAL_BLAST_RADIUS,
        help_text="A bulk command to more devices than this wants a second person.",
    )
    updated_at = models.DateTimeField()

    seen_by = Role.VIEWER
    managed_by = Role.ADMIN

    class Meta(TenantOwned.Meta):
        verbose_name = "remote control policy"
        verbose_name_plural = "remote control policies"
        constraints = (
            models.UniqueConstraint(fields=("tenant",), name="one_policy_of_a_tenant"),
        )

    def __str__(self) -> str:
        return "What may be commanded"


class SigningKey(TenantOwned):
    """An Ed25519 key (RFC 8032) of a tenant; one at a time signs for a purpose."""

    purpose: ClassVar[str]  # what its private half is encrypted for

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    thumbprint = models.CharField(max_length=43, unique=True)  # RFC 7638
    public_key = models.CharField(max_length=43)  # base64url of 32 bytes
    private_key = models.CharField(max_length=255, editable=False)  # encrypted
    made_at = models.DateTimeField()
    replaced_at = models.DateTimeField(null=True)

    seen_by: ClassVar[Role] = Role.ADMIN
    managed_by: ClassVar[Role] = Role.ADMIN

    class Meta(TenantOwned.Meta):
        abstract = True
        ordering = ("-made_at",)

    def __str__(self) -> str:
        return self.thumbprint


class CommandSigningKey(SigningKey):
    """A key that signs a tenant's commands.

    A command is signed when it is handed out, so one that was replaced is published for
    minutes only: until what is on its way has arrived.
    """

    purpose = "command signing keys"

    class Meta(SigningKey.Meta):
        abstract = False
        constraints = (
            models.UniqueConstraint(
                fields=("tenant",),
                condition=Q(replaced_at__isnull=True),
                name="one_key_signs_for_a_tenant",
            ),
        )
