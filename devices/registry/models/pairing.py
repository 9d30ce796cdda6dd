"""Boxes that have no credential yet, and show a code to the person before them."""

import uuid
from datetime import datetime
from typing import Any, ClassVar, Self

from django.db import models


class PairingQuerySet(models.QuerySet["Pairing"]):
    """Questions about pairings; each returns a narrower queryset."""

    def waiting(self, now: datetime) -> Self:
        return self.filter(status=Pairing.Status.PENDING, expires_at__gt=now)

    def outlived(self, before: datetime) -> Self:
        return self.filter(expires_at__lt=before)


class Pairing(models.Model):
    """One run of the OAuth 2.0 device authorization grant (RFC 8628).

    It belongs to no tenant until a member approves it, so it lies outside the wall;
    nothing of a tenant is in it but the ids of the tenant and the device it became.
    """

    class Status(models.TextChoices):
        PENDING = "pending"
        APPROVED = "approved"  # the box has not fetched its token yet
        DENIED = "denied"
        COMPLETED = "completed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    device_code_digest = models.CharField(max_length=64, unique=True)
    user_code_digest = models.CharField(max_length=64)  # keyed: the code is short
    box = models.JSONField()
    address = models.GenericIPAddressField(null=True)
    status = models.CharField(
        max_length=9, choices=Status.choices, default=Status.PENDING
    )
    requested_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    interval = models.PositiveSmallIntegerField()  # s
    polled_at = models.DateTimeField(null=True)
    looks = models.PositiveSmallIntegerField(default=0)
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
        return f"{self.box.get('model') or 'a box'} at {self.address}"
