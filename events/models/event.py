"""Events, their pending deliveries, and the hash chains of the audit log."""

from datetime import datetime
from typing import ClassVar, Self
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Exists, OuterRef, Q

from core.opaque_ids import PublicIdModel, PublicIdQuerySet
from tenants.context import current_tenant_id
from tenants.managers import TenantManager
from tenants.models import Role, Tenant

NO_OWNER = UUID(int=0)  # of deliveries of events without a tenant


class EventQuerySet(PublicIdQuerySet["Event"]):
    """Queries for events; each method narrows the queryset."""

    def named(self, *names: str) -> Self:
        return self.filter(name__in=names)

    def of_device(self, device_id: object) -> Self:
        return self.filter(device_id=device_id)

    def since(self, moment: datetime) -> Self:
        return self.filter(at__gte=moment)


class Event(PublicIdModel):
    """A domain event, written in the transaction of the change it describes.

    The events are also the audit log: who did what, when, from which address, and the
    values before and after. Rows are never changed. They are deleted after the retention
    period.
    """

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(
        Tenant,
        on_delete=models.PROTECT,
        null=True,  # for events without a tenant, such as events of the certificate authority
        default=current_tenant_id,
        related_name="+",
        db_index=False,
    )
    name = models.CharField(max_length=64)  # noun.past_tense
    device_id = models.UUIDField(null=True)  # no foreign key: events outlive devices
    at = models.DateTimeField()
    caller_kind = models.CharField(max_length=20)
    caller_id = models.CharField(max_length=64, blank=True)
    caller_name = models.CharField(max_length=254, blank=True)
    address = models.GenericIPAddressField(null=True)
    request_id = models.CharField(max_length=64, blank=True)
    data = models.JSONField(encoder=DjangoJSONEncoder)
    changes = models.JSONField(encoder=DjangoJSONEncoder)  # field: [before, after]

    public_id_purpose = "event id"
    view_role: ClassVar[Role] = Role.VIEWER
    manage_role: ClassVar[Role | None] = None  # no role may change events

    objects = TenantManager.from_queryset(EventQuerySet)()
    every_tenant = EventQuerySet.as_manager()

    class Meta:
        base_manager_name = "every_tenant"
        ordering = ("-id",)
        indexes = (
            models.Index(fields=("tenant", "-id"), name="event_of_tenant_newest"),
            models.Index(fields=("device_id", "-id"), name="event_of_device_newest"),
            models.Index(fields=("at",), name="event_retention"),
        )

    def __str__(self) -> str:
        return f"{self.name} at {self.at:%Y-%m-%d %H:%M:%S}"


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    """Queries for deliveries; each method narrows the queryset."""

    def waiting(self) -> Self:
        return self.filter(dead_at__isnull=True)

    def dead(self) -> Self:
        return self.filter(dead_at__isnull=False)

    def due(self, now: datetime) -> Self:
        """Return the oldest pending delivery of each subscriber and stream, if the delivery is due.

        A stream contains the events of a device, or a tenant's events without a device. Each
        subscriber gets the events of a stream in order.
        """
        older = Delivery.objects.waiting().filter(
            listener=OuterRef("listener"),
            stream=OuterRef("stream"),
            event_id__lt=OuterRef("event_id"),
        )
        return self.waiting().filter(~Exists(older), due_at__lte=now)


class Delivery(models.Model):
    """A pending delivery of an event to a subscriber. A successful delivery deletes the row."""

    id = models.BigAutoField(primary_key=True)
    event = models.ForeignKey(
        Event, on_delete=models.CASCADE, related_name="deliveries", db_index=False
    )
    listener = models.CharField(max_length=200)  # dotted path of the subscriber
    stream = models.UUIDField(null=True)  # id of the device or tenant; delivered in order
    owner = models.UUIDField(default=NO_OWNER, db_default=NO_OWNER)  # id of the tenant
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField()
    last_error = models.TextField(blank=True)
    dead_at = models.DateTimeField(null=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(
                fields=("event", "listener"), name="delivery_once_per_listener"
            ),
        )
        indexes = (
            models.Index(
                fields=("listener", "stream", "event"),
                condition=Q(dead_at__isnull=True),
                name="delivery_order",
            ),
            models.Index(
                fields=("due_at",), condition=Q(dead_at__isnull=True), name="delivery_due"
            ),
            models.Index(
                fields=("owner", "id"), condition=Q(dead_at__isnull=True), name="delivery_turns"
            ),
        )

    def __str__(self) -> str:
        return f"{self.event_id} to {self.listener}"


class Unsealed(models.Model):
    """An event that is not in a hash chain yet. A database trigger inserts these rows."""

    event_id = models.BigIntegerField(primary_key=True)
    chain = models.UUIDField(null=True)  # tenant id, or null for events of no tenant

    class Meta:
        verbose_name_plural = "unsealed"

    def __str__(self) -> str:
        return str(self.event_id)


class Seal(models.Model):
    """A link of a tenant's hash chain: the digests of some events and of the previous link.

    There are no foreign keys, so that a deleted event leaves a detectable gap.
    """

    chain = models.UUIDField(null=True)  # tenant id, or null for events of no tenant
    number = models.PositiveBigIntegerField()  # 1, 2, 3, … in each chain
    sealed_at = models.DateTimeField()
    event_ids = ArrayField(models.BigIntegerField())
    digests = models.BinaryField()  # concatenated SHA-256 digests of the events
    previous = models.BinaryField()  # digest of the previous seal; zeros in the first
    digest = models.BinaryField()

    class Meta:
        ordering = ("chain", "number")
        constraints = (
            models.UniqueConstraint(
                fields=("chain", "number"), nulls_distinct=False, name="seal_once_per_place"
            ),
        )
        indexes = (models.Index(fields=("sealed_at",), name="seal_retention"),)

    def __str__(self) -> str:
        return f"seal {self.number} of {self.chain or 'the installation'}"
