"""Models of identifiers that several devices report."""

import uuid
from collections.abc import Iterable
from typing import Self

from django.db import models
from django.db.models import Prefetch, Q

from devices.registry.identifiers import Identifier, identifier_of, label
from devices.registry.models.devices import Device, DeviceIdentifier
from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import TenantOwned

SHOWN_DEVICES = 20  # of a conflict


class IdentifierConflictQuerySet(models.QuerySet["IdentifierConflict"]):
    """Query methods of identifier conflicts."""

    def open(self) -> Self:
        """Filter conflicts that wait for a member's decision."""
        return self.filter(decision="").exclude(holder__status=Device.Status.RETIRED)

    def with_devices(self) -> Self:
        """Load the holder, and the newest other devices as `newest_others`."""
        others = ConflictingDevice.every_tenant.select_related("device")[:SHOWN_DEVICES]
        prefetch = Prefetch("others", others, to_attr="newest_others")
        return self.select_related("holder").prefetch_related(prefetch)


class IdentifierConflict(TenantOwned):
    """An identifier that one device holds and others report too.

    A member decides whether they are different devices or the same one. After `different`,
    the value identifies no device.
    """

    class Decision(models.TextChoices):
        DIFFERENT = "different", "Different devices"
        SAME = "same", "The same device"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=16, choices=DeviceIdentifier.Kind.choices)
    value = models.CharField(max_length=64)
    holder = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="held_conflicts")
    # The identifiers of a device that waits for the decision before it is registered.
    waiting = models.JSONField(default=list, blank=True)
    waiting_address = models.GenericIPAddressField(null=True, blank=True)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    decision = models.CharField(max_length=9, choices=Decision.choices, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)

    newest_others: list["ConflictingDevice"]  # at most `SHOWN_DEVICES`, see `with_devices`

    objects = TenantManager.from_queryset(IdentifierConflictQuerySet)()
    every_tenant = IdentifierConflictQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        ordering = ("-last_seen_at", "-id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "kind", "value"), name="conflict_once"),
            models.UniqueConstraint(fields=("tenant", "id"), name="conflict_with_its_tenant"),
            SameTenant("holder", name="conflict_of_its_tenants_holder"),
        )
        indexes = (
            models.Index(fields=("tenant", "-last_seen_at", "-id"), name="conflict_newest"),
            models.Index(
                fields=("tenant", "holder"), condition=Q(decision=""), name="conflict_open"
            ),
        )

    def __str__(self) -> str:
        name = label(self.identifier)
        return f"{name[0].upper()}{name[1:]} {self.value}"

    @property
    def identifier(self) -> Identifier:
        return identifier_of(self.kind, self.value)

    def waiting_identifiers(self) -> list[Identifier]:
        """Return the identifiers of the device that waits to be registered."""
        return [Identifier(*item) for item in self.waiting]


class ConflictingDevice(TenantOwned):
    """A registered device that has reported an identifier which another device holds."""

    conflict = models.ForeignKey(
        IdentifierConflict, on_delete=models.CASCADE, related_name="others", db_index=False
    )
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="conflicts")
    first_seen_at = models.DateTimeField()

    class Meta(TenantOwned.Meta):
        ordering = ("-first_seen_at", "-id")
        constraints = (
            models.UniqueConstraint(fields=("conflict", "device"), name="conflicting_device_once"),
            SameTenant("conflict", name="conflicting_device_of_its_tenants_conflict"),
            SameTenant("device", name="conflicting_device_of_its_tenant"),
        )

    def __str__(self) -> str:
        return f"{self.device_id} reports {self.conflict_id}"


def identifier_pairs(identifiers: Iterable[Identifier]) -> list[list[str]]:
    """Return identifiers as they are stored in `IdentifierConflict.waiting`."""
    return [[item.kind, item.value, item.written] for item in identifiers]
