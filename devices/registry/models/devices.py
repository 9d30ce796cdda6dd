"""Models of devices, their identifiers, tags and next steps."""

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Literal, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Count, Exists, OuterRef, Q
from django.utils.functional import cached_property

from devices.registry.identifiers import Identifier, identifier_of
from devices.registry.models.sites import Site
from devices.registry.text_search import has_address, matches_identifier
from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import TenantOwned
from tenants.revisions import revision_of


class DeviceQuerySet(models.QuerySet["Device"]):
    """Query methods of devices."""

    def not_retired(self) -> Self:
        """Filter devices that are not retired."""
        return self.exclude(status=Device.Status.RETIRED)

    def online(self) -> Self:
        return self.filter(status=Device.Status.ONLINE)

    def offline(self) -> Self:
        """Filter devices that were connected before and are not now."""
        return self.filter(status=Device.Status.OFFLINE, last_seen__isnull=False)

    def never_connected(self) -> Self:
        """Filter devices that were registered by hand or imported, and have not connected yet.

        Their `status` is `offline`.
        """
        return self.filter(status=Device.Status.OFFLINE, last_seen__isnull=True)

    def counts_by_state(self) -> dict[str, int]:
        """Return the numbers of devices that are online, offline and never connected."""
        offline = Q(status=Device.Status.OFFLINE)
        counts: dict[str, int] = self.order_by().aggregate(
            online=Count("pk", filter=Q(status=Device.Status.ONLINE)),
            offline=Count("pk", filter=offline & Q(last_seen__isnull=False)),
            never_connected=Count("pk", filter=offline & Q(last_seen__isnull=True)),
        )
        return counts

    def quarantined(self) -> Self:
        return self.filter(quarantined_at__isnull=False)

    def requesting_reregistration(self, since: datetime) -> Self:
        """Filter devices that requested to register again after `since` and await a decision."""
        return self.filter(
            reregistration__asked_at__gt=since, reregistration__decided_at__isnull=True
        )

    def silent(self, since: datetime) -> Self:
        """Filter devices that have the status online but were last seen before `since`."""
        return self.online().filter(last_seen__lt=since)

    def with_tag(self, tag: str) -> Self:
        """Filter devices with a tag of this name."""
        device_tags = DeviceTag.every_tenant.filter(device=OuterRef("pk"), tag__name=tag)
        return self.filter(Exists(device_tags))

    def at_site(self, site: str) -> Self:
        """Filter devices at the site with this name or id, and at the sites in it."""
        sites = list(Site.every_tenant.matching(site).values_list("pk", flat=True))
        return self.filter(site__in=Site.every_tenant.below(sites).values("pk"))

    def drifted(self) -> Self:
        """Filter devices that have not applied their desired configuration.

        A device that has never connected does not drift: it cannot know its configuration.
        """
        waiting = NextSteps.every_tenant.filter(
            device=OuterRef("pk"), configuration_waiting_since__isnull=False
        )
        return self.not_retired().exclude(last_seen=None).filter(Exists(waiting))

    def not_drifted(self) -> Self:
        """Filter devices that applied their desired configuration or have none."""
        waiting = Q(next_steps__configuration_waiting_since__isnull=False)
        return self.exclude(waiting & Q(last_seen__isnull=False))

    def matching_text(self, text: str) -> Self:
        """Filter devices with a name that contains the text.

        Devices are included with an identifier that starts with the text, with a MAC address that
        starts or ends with it in any notation, and with the text as their IP address.

        Case and surrounding whitespace are ignored.
        """
        text = text.strip()
        identifiers = DeviceIdentifier.every_tenant.filter(
            matches_identifier(text), device=OuterRef("pk")
        )
        return self.filter(Q(name__icontains=text) | Q(Exists(identifiers)) | has_address(text))

    def with_name(self, text: str) -> Self:
        """Filter devices with a name that contains the text."""
        return self.filter(name__icontains=text.strip())

    def with_address(self, text: str) -> Self:
        """Filter devices with this IP address."""
        return self.filter(has_address(text.strip()))


class Device(TenantOwned):
    """A device in the field.

    Each connected device updates its row every minute. Therefore the row is narrow, and
    bulky data is in related tables. No index contains `status` or `last_seen`,
    because updating such an index would cost more than scanning for silent devices.
    """

    class Status(models.TextChoices):
        ONLINE = "online"
        OFFLINE = "offline"
        RETIRED = "retired"  # final

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120)
    model = models.CharField(max_length=64, blank=True)  # indexed: lists filter by it
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.OFFLINE)
    last_seen = models.DateTimeField(null=True, blank=True)
    app_version = models.CharField(max_length=64, blank=True)
    os_version = models.CharField("OS version", max_length=64, blank=True)
    ip_address = models.GenericIPAddressField("IP address", null=True, blank=True)
    boot_id = models.CharField(max_length=36, blank=True, db_default="")
    report_number = models.PositiveBigIntegerField(null=True, blank=True)  # of the last connect
    # The constraint `device_at_its_tenants_site` contains the foreign key.
    site = models.ForeignKey(
        Site,
        on_delete=models.RESTRICT,
        null=True,
        blank=True,
        related_name="devices",
        db_constraint=False,
        db_index=False,
    )
    registered_at = models.DateTimeField()
    retired_at = models.DateTimeField(null=True, blank=True)
    quarantined_at = models.DateTimeField(null=True, blank=True)

    objects = TenantManager.from_queryset(DeviceQuerySet)()
    every_tenant = DeviceQuerySet.as_manager()

    is_authenticated: Literal[True] = True  # a device may be DRF's `request.user`
    is_active: Literal[True] = True

    class Meta(TenantOwned.Meta):
        ordering = ("-registered_at", "-id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "id"), name="device_with_its_tenant"),
            SameTenant("site", name="device_at_its_tenants_site"),
            models.CheckConstraint(
                name="device_retired_at_some_time",
                condition=Q(status="retired", retired_at__isnull=False)
                | (~Q(status="retired") & Q(retired_at__isnull=True)),
            ),
        )
        indexes = (
            models.Index(fields=("tenant", "-registered_at", "-id"), name="device_list_newest"),
            models.Index(fields=("-registered_at", "-id"), name="device_newest_of_all"),
            models.Index(fields=("tenant", "name", "id"), name="device_list_by_name"),
            models.Index(fields=("tenant", "model", "-registered_at"), name="device_list_of_model"),
            models.Index(
                fields=("site", "-registered_at"),
                condition=Q(site__isnull=False),
                name="device_list_of_site",
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def state(self) -> str:
        """The status, or `never_connected`."""
        is_new = self.status == self.Status.OFFLINE and self.last_seen is None
        return "never_connected" if is_new else self.status

    @cached_property
    def tenant_revision(self) -> int:
        """The revision of the tenant. It is loaded with the device's credential."""
        assert self.tenant_id is not None
        return revision_of(self.tenant_id)


class DeviceHardware(TenantOwned):
    """The hardware of a device. It rarely changes, so it is not in the device's row."""

    device = models.OneToOneField(
        Device, on_delete=models.CASCADE, primary_key=True, related_name="hardware"
    )
    manufacturer = models.CharField(max_length=64, blank=True)
    screen_width = models.PositiveIntegerField(null=True, blank=True)  # pixels
    screen_height = models.PositiveIntegerField(null=True, blank=True)  # pixels
    # What the processor runs, such as arm64-v8a; the preferred one first.
    abis = ArrayField(models.CharField(max_length=20), default=list, blank=True, db_default=[])
    # See `signature_algorithms`. Devices that have registered before know EdDSA.
    signature_algorithm = models.CharField(max_length=5, default="EdDSA", db_default="EdDSA")

    class Meta(TenantOwned.Meta):
        verbose_name_plural = "device hardware"
        constraints = (SameTenant("device", name="hardware_of_its_tenants_device"),)

    def __str__(self) -> str:
        return f"{self.manufacturer} {self.screen_width}×{self.screen_height}"


class DeviceReplacement(TenantOwned):
    """New hardware that took over the record of a device."""

    failed = models.OneToOneField(Device, on_delete=models.CASCADE, related_name="replacement")
    successor = models.OneToOneField(Device, on_delete=models.CASCADE, related_name="predecessor")
    replaced_at = models.DateTimeField()

    class Meta(TenantOwned.Meta):
        constraints = (
            SameTenant("failed", name="replaced_device_of_its_tenant"),
            SameTenant("successor", name="successor_of_its_tenant"),
        )

    def __str__(self) -> str:
        return f"{self.successor_id} replaces {self.failed_id}"


ACTIVE_IDENTIFIER_CONSTRAINT = "identifier_of_one_living_device"


class DeviceIdentifierQuerySet(models.QuerySet["DeviceIdentifier"]):
    """Query methods of device identifiers."""

    def in_use(self) -> Self:
        """Filter identifiers that are in use. Retiring a device releases its identifiers."""
        return self.filter(released_at__isnull=True)

    def matching(self, identifiers: Iterable[Identifier]) -> Self:
        """Filter identifiers in use that equal one of `identifiers`."""
        condition = Q(pk__in=())
        for identifier in identifiers:
            condition |= Q(kind=identifier.kind, value=identifier.value)
        return self.in_use().filter(condition)


class DeviceIdentifier(TenantOwned):
    """A hardware identifier. At most one unretired device of a tenant uses the identifier."""

    class Kind(models.TextChoices):
        SERIAL_NUMBER = "serial_number"
        ANDROID_ID = "android_id"
        MAC_ADDRESS = "mac_address", "MAC address"

    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="identifiers")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    value = models.CharField(max_length=64)  # normalised
    written = models.CharField(max_length=64, blank=True, db_default="")  # if it differs
    released_at = models.DateTimeField(null=True, blank=True)

    objects = TenantManager.from_queryset(DeviceIdentifierQuerySet)()
    every_tenant = DeviceIdentifierQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "kind", "value"),
                condition=Q(released_at__isnull=True),
                name=ACTIVE_IDENTIFIER_CONSTRAINT,
            ),
            SameTenant("device", name="identifier_of_its_tenants_device"),
        )
        indexes = (
            models.Index(
                fields=("value",), opclasses=("varchar_pattern_ops",), name="identifier_begins_with"
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.shown}"

    @property
    def shown(self) -> str:
        """Return the value as the device or the member has written it."""
        return self.written or self.value

    @property
    def identifier(self) -> Identifier:
        return identifier_of(self.kind, self.value, self.written)


class Tag(TenantOwned):
    """A label that groups devices, such as a site or a type of screen."""

    name = models.CharField(max_length=64)

    class Meta(TenantOwned.Meta):
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="tag_once"),
            models.UniqueConstraint(fields=("tenant", "id"), name="tag_with_its_tenant"),
        )

    def __str__(self) -> str:
        return self.name


class DeviceTag(TenantOwned):
    """The assignment of a tag to a device."""

    # The constraints of `Meta` contain the foreign keys.
    device = models.ForeignKey(
        Device, on_delete=models.CASCADE, related_name="device_tags", db_constraint=False
    )
    tag = models.ForeignKey(
        Tag, on_delete=models.CASCADE, related_name="device_tags", db_constraint=False
    )

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
    """What a device should do next, as returned by `connect`.

    Every device calls `connect` each minute. To keep this request fast, `connect` reads only
    this row, joined to the device. Other packages write the columns of the row through
    `devices.registry.next_steps`, in the transaction that changes their own data.
    """

    device = models.OneToOneField(
        Device, on_delete=models.CASCADE, primary_key=True, related_name="next_steps"
    )
    configuration_version = models.CharField(max_length=64, null=True)  # noqa: DJ001 # JSON null
    configuration_waiting_since = models.DateTimeField(null=True)  # null: applied
    commands_waiting = models.PositiveIntegerField(default=0, db_default=0)
    command_sequence = models.PositiveBigIntegerField(
        default=0, db_default=0
    )  # of the last command
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
