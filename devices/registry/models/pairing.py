"""The pairing of devices that have no credential yet."""

import uuid
from datetime import datetime
from typing import Any, ClassVar, Self

from django.db import models


class PairingQuerySet(models.QuerySet["Pairing"]):
    """Query methods of pairings."""

    def waiting(self, now: datetime) -> Self:
        """Filter undecided pairings that have not expired."""
        return self.filter(status=Pairing.Status.PENDING, expires_at__gt=now)

    def expired_before(self, before: datetime) -> Self:
        return self.filter(expires_at__lt=before)


class Pairing(models.Model):
    """One run of the OAuth 2.0 device authorization grant (RFC 8628).

    A pairing belongs to no tenant until a member approves it, so row-level security does
    not apply to the table. The only tenant data in the table are the ids of the tenant and
    the device. These ids are set on approval.
    """

    class Status(models.TextChoices):
        PENDING = "pending"
        APPROVED = "approved"  # the device has not fetched its token yet
        DENIED = "denied"
        COMPLETED = "completed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    device_code_digest = models.CharField(max_length=64, unique=True)
    user_code_digest = models.CharField(max_length=64)  # keyed, because the code is short
    report = models.JSONField()  # the fields of a device report
    address = models.GenericIPAddressField(null=True)
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.PENDING)
    requested_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    interval = models.PositiveSmallIntegerField()  # seconds between polls
    polled_at = models.DateTimeField(null=True)
    looks = models.PositiveSmallIntegerField(default=0)  # lookups by members
    tenant_id = models.UUIDField(null=True)
    device_id = models.UUIDField(null=True)
    decided_at = models.DateTimeField(null=True)

    objects: ClassVar[Any] = PairingQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("user_code_digest",),
                condition=models.Q(status="pending"),
                name="pairing_code_once_at_a_time",
            ),
        )
        indexes = (
            models.Index(fields=("expires_at",), name="pairing_expiry"),
            models.Index(fields=("address", "expires_at"), name="pairing_of_address"),
        )

    def __str__(self) -> str:
        return f"{self.report.get('model') or 'device'} at {self.address}"
