"""The registry: devices, what identifies and groups them, what they should do next."""

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar, Literal, Self

from django.db import models
from django.db.models import Exists, OuterRef, Q

from devices.registry.identifiers import Identifier
from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import TenantOwned


class DeviceQuerySet(models.QuerySet["Device"]):
    """Questions about devices; each returns a narrower queryset."""

    def living(self) -> Self:
        """Every device that is not retired."""
        return self.exclude(status=Device.Status.RETIRED)

    def online(self) -> Self:
        return self.filter(status=Device.Status.ONLINE)

    def quarantined(self) -> Self:
        return self.filter(quarantined_at__isnull=False)

    def asking(self, since: datetime) -> Self:
        """Boxes of theirs asked to register again, and nobody has decided."""
        return self.filter(
            reregistration__asked_at__gt=since, reregistration__decided_at__isnull=True
        )

    def silent(self, since: datetime) -> Self:
        """Believed online, but last heard of before `since`."""
        return self.online().filter(last_seen__lt=since)

    def tagged(self, tag: str) -> Self:
        """Devices with a tag of this name."""
        tagged = DeviceTag.every_tenant.filter(device=OuterRef("pk"), tag__name=tag)
        return self.filter(Exists(tagged))

    def drifted(self) -> Self:
        """They should have another configuration than they last said that they have."""
        waiting = NextSteps.every_tenant.filter(
            device=OuterRef("pk"), configuration_waiting_since__isnull=False
        )
        return self.living().filter(Exists(waiting))

    def not_drifted(self) -> Self:
        """Devices that have the configuration they should have, or none to have."""
        return self.exclude(next_steps__configuration_waiting_since__isnull=False)

    def found_by(self, words: str) -> Self:
        """The name contains the words, or an identifier begins with them."""
        identified = DeviceIdentifier.every_tenant.filter(
            device=OuterRef("pk"), value__istartswith=words.strip()
        )
        return self.filter(Q(name__icontains=words.strip()) | Exists(identified))


class Device(TenantOwned):
    """A box in the field. The row is narrow: each connected device rewrites it each minute.

    No index holds `status` or `last_seen`: each would make that rewrite dearer than a
    scan for the silent ones. Bulky facts live beside it.
    """

    class Status(models.TextChoices):
        ONLINE = "online"
        OFFLINE = "offline"
        RETIRED = "retired"  # final

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120)
    model = models.CharField(max_length=64, blank=True)  # lists narrow by it
    status = models.CharField(
        max_length=8, choices=Status.choices, default=Status.OFFLINE
    )
    last_seen = models.DateTimeField(null=True, blank=True)
    app_version = models.CharField(max_length=64, blank=True)
    os_version = models.CharField(max_length=64, blank=True)
    ip_address = models.GenericIPAddressField(null=True, blank=True)
    registered_at = models.DateTimeField()
    retired_at = models.DateTimeField(null=True, blank=True)
    quarantined_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar = TenantManager.from_queryset(DeviceQuerySet)()
    every_tenant: ClassVar = DeviceQuerySet.as_manager()

    is_authenticated: Literal[True] = True  # a device may be DRF's `request.user`
    is_active: Literal[True] = True

    class Meta(TenantOwned.Meta):
        ordering = ("-registered_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "id"), name="device_with_its_tenant"
            ),
            models.CheckConstraint(
                name="device_retired_at_some_time",
                condition=Q(status="retired", retired_at__isnull=False)
                | (~Q(status="retired") & Q(retired_at__isnull=True)),
            ),
        )
        indexes = (
            models.Index(
                fields=("tenant", "-registered_at", "-id"), name="device_list_newest"
            ),
            models.Index(fields=("-registered_at", "-id"), name="device_newest_of_all"),
            models.Index(fields=("tenant", "name", "id"), name="device_list_by_name"),
            models.Index(
                fields=("tenant", "model", "-registered_at"),
                name="device_list_of_model",
            ),
        )

    def __str__(self) -> str:
        return self.name


class DeviceHardware(TenantOwned):
    """What a box is made of; it rarely changes, so it lives beside the device's row."""

    device = models.OneToOneField(
        Device, on_delete=models.CASCADE, primary_key=True, related_name="hardware"
    )
    manufacturer = models.CharField(max_length=64, blank=True)
    screen_width = models.PositiveIntegerField(null=True, blank=True)  # pixels
    screen_height = models.PositiveIntegerField(null=True, blank=True)  # pixels

    class Meta(TenantOwned.Meta):
        verbose_name_plural = "device hardware"
        constraints = (SameTenant("device", name="hardware_of_its_tenants_device"),)

    def __str__(self) -> str:
        return f"{self.manufacturer} {self.screen_width}×{self.screen_height}"


ONE_LIVING_DEVICE = "identifier_of_one_living_device"


class DeviceIdentifierQuerySet(models.QuerySet["DeviceIdentifier"]):
    """Questions about identifiers; each returns a narrower queryset."""

    def held(self) -> Self:
        """Of living devices; a retired one has given its identifiers up."""
        return self.filter(released_at__isnull=True)

    def matching(self, identifiers: Iterable[Identifier]) -> Self:
        wanted = Q(pk__in=())
        for identifier in identifiers:
            wanted |= Q(kind=identifier.kind, value=identifier.value)
        return self.held().filter(wanted)


class DeviceIdentifier(TenantOwned):
    """Something by which a box is known again: at most one living device holds it."""

    class Kind(models.TextChoices):
        SERIAL_NUMBER = "serial_number"
        ANDROID_ID = "android_id"
        MAC_ADDRESS = "mac_address", "MAC address"

    device = models.ForeignKey(
        Device, on_delete=models.CASCADE, related_name="identifiers"
    )
    kind = models.CharField(max_length=16, choices=Kind.choices)
    value = models.CharField(max_length=64)
    released_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar = TenantManager.from_queryset(DeviceIdentifierQuerySet)()
    every_tenant: ClassVar = DeviceIdentifierQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "kind", "value"),
                condition=Q(released_at__isnull=True),
                name=ONE_LIVING_DEVICE,
            ),
            SameTenant("device", name="identifier_of_its_tenants_device"),
        )
        indexes = (
            models.Index(
                fields=("value",),
                opclasses=("varchar_pattern_ops",),
                name="identifier_begins_with",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.value}"


class Tag(TenantOwned):
    """A name that groups devices, such as a site or a kind of screen."""

    name = models.CharField(max_length=64)

    class Meta(TenantOwned.Meta):
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="tag_once"),
            models.UniqueConstraint(
                fields=("tenant", "id"), name="tag_with_its_tenant"
            ),
        )

    def __str__(self) -> str:
        return self.name


class DeviceTag(TenantOwned):
    """A device wears a tag."""

    device = models.ForeignKey(
        Device, on_delete=models.CASCADE, related_name="device_tags"
    )
    tag = models.ForeignKey(Tag, on_delete=models.CASCADE, related_name="device_tags")

    class Meta(TenantOwned.Meta):
        ordering = ("tag__name",)
        constraints = (
            models.UniqueConstraint(fields=("device", "tag"), name="tag_worn_once"),
            SameTenant("device", name="tag_on_its_tenants_device"),
            SameTenant("tag", name="tag_of_its_tenant"),
        )

    def __str__(self) -> str:
        return str(self.tag)


class NextSteps(TenantOwned):
    """What a device should do next, for the answer of `connect`.

    The rooms above write their column when it changes, in the transaction that changes
    it, so that a million devices can ask each minute for the price of one joined row.
    """

    device = models.OneToOneField(
        Device, on_delete=models.CASCADE, primary_key=True, related_name="next_steps"
    )
    configuration_version = models.CharField(max_length=64, null=True)  # noqa: DJ001 # JSON null
    configuration_waiting_since = models.DateTimeField(null=True)  # not applied yet
    commands_waiting = models.PositiveIntegerField(default=0, db_default=0)
    command_sequence = models.PositiveBigIntegerField(default=0, db_default=0)  # last
    update_waiting = models.BooleanField(default=False, db_default=False)
    certificate_serial_number = models.CharField(max_length=40, null=True)  # noqa: DJ001
    certificate_issued_at = models.DateTimeField(null=True)
    certificate_renewal_due_at = models.DateTimeField(null=True)
    settings_revision = models.PositiveIntegerField(default=0, db_default=0)

    class Meta(TenantOwned.Meta):
        verbose_name_plural = "next steps"
        constraints = (SameTenant("device", name="next_steps_of_its_tenants_device"),)
        indexes = (
            models.Index(
                fields=("tenant", "device"),
                condition=Q(configuration_waiting_since__isnull=False),
                name="configuration_waiting",
            ),
        )

    def __str__(self) -> str:
        return f"next steps of {self.device_id}"
