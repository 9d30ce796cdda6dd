"""Fields of devices' messages that could not be used as they were sent."""

from typing import Any, Self

from django.db import models
from django.db.models import Count, Max

from devices.registry.models.devices import Device
from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import TenantOwned

MAX_SUMMARIES = 100


class UnreadableFieldQuerySet(models.QuerySet["UnreadableField"]):
    """Query methods of unreadable fields."""

    def for_device(self, device: Device) -> Self:
        return self.filter(device=device)

    def summary(self) -> list[dict[str, Any]]:
        """Return the number of devices for each field, code and app version, largest first.

        At most `MAX_SUMMARIES` rows with the keys field, code, app_version, devices, detail and
        last_seen_at.
        """
        groups = self.order_by().values("field", "code", "app_version")
        counted = groups.annotate(
            devices=Count("pk"), detail=Max("detail"), last_seen_at=Max("last_seen_at")
        )
        return list(counted.order_by("-devices", "field", "app_version", "code")[:MAX_SUMMARIES])


class UnreadableField(TenantOwned):
    """A field that a device sent with one app version and that could not be used as it was."""

    device = models.ForeignKey(
        Device, on_delete=models.CASCADE, related_name="unreadable_fields", db_index=False
    )
    field = models.CharField(max_length=100)  # dotted path in the message, without indexes
    code = models.CharField(max_length=32)
    detail = models.CharField(max_length=200)  # a sentence for people
    app_version = models.CharField(max_length=64, blank=True)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField(db_index=True)

    objects = TenantManager.from_queryset(UnreadableFieldQuerySet)()
    every_tenant = UnreadableFieldQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        ordering = ("-last_seen_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("device", "field", "app_version"), name="unreadable_field_once"
            ),
            SameTenant("device", name="unreadable_field_of_its_tenants"),
        )
        indexes = (models.Index(fields=("tenant", "field", "code"), name="unreadable_by_field"),)

    def __str__(self) -> str:
        return self.field
