"""What happened, and what of it still has to be told to whom."""

from datetime import datetime
from typing import ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Exists, OuterRef, Q

from tenants.context import current_tenant_id
from tenants.managers import TenantManager
from tenants.models import Role, Tenant


class EventQuerySet(models.QuerySet["Event"]):
    """Questions about events; each returns a narrower queryset."""

    def named(self, *names: str) -> Self:
        return self.filter(name__in=names)

    def of_device(self, device_id: object) -> Self:
        return self.filter(device_id=device_id)

    def since(self, moment: datetime) -> Self:
        return self.filter(at__gte=moment)


class Event(models.Model):
    """Something that happened, written in the transaction that made it happen.

    It is the audit log as well: who, what, when, from where, before and after. Rows
    are added and, after their retention, dropped; nothing ever changes one.
    """

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(
        Tenant,
        on_delete=models.PROTECT,
        null=True,  # what belongs to no tenant: the certificate authority's own acts
        default=current_tenant_id,
        related_name="+",
        db_index=False,
    )
    name = models.CharField(max_length=64)  # noun.past_tense
    device_id = models.UUIDField(null=True)  # no foreign key: history outlives all
    at = models.DateTimeField()
    caller_kind = models.CharField(max_length=20)
    caller_id = models.CharField(max_length=64, blank=True)
    caller_name = models.CharField(max_length=254, blank=True)
    address = models.GenericIPAddressField(null=True)
    request_id = models.CharField(max_length=64, blank=True)
    data = models.JSONField(encoder=DjangoJSONEncoder)
    changes = models.JSONField(encoder=DjangoJSONEncoder)  # field: [before, after]

    seen_by: ClassVar[Role] = Role.VIEWER
    managed_by: ClassVar[Role | None] = None  # nobody writes history

    objects: ClassVar = TenantManager.from_queryset(EventQuerySet)()
    every_tenant: ClassVar = EventQuerySet.as_manager()

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
    """Questions about deliveries; each returns a narrower queryset."""

    def waiting(self) -> Self:
        return self.filter(dead_at__isnull=True)

    def dead(self) -> Self:
        return self.filter(dead_at__isnull=False)

    def due(self, now: datetime) -> Self:
        """The oldest of its stream, and its time has come.

        A younger event of the same device waits for the older one, so that each
        listener hears a device's events in order.
        """
        older = Delivery.objects.waiting().filter(
            listener=OuterRef("listener"),
            stream=OuterRef("stream"),
            event_id__lt=OuterRef("event_id"),
        )
        return self.waiting().filter(~Exists(older), due_at__lte=now)


class Delivery(models.Model):
    """One event that one listener has not heard yet; the row goes when it has."""

    id = models.BigAutoField(primary_key=True)
    event = models.ForeignKey(
        Event, on_delete=models.CASCADE, related_name="deliveries", db_index=False
    )
    listener = models.CharField(max_length=200)
    stream = models.UUIDField(null=True)  # within it, deliveries keep their order
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField()
    last_error = models.TextField(blank=True)
    dead_at = models.DateTimeField(null=True)

    objects: ClassVar = DeliveryQuerySet.as_manager()

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
                fields=("due_at",),
                condition=Q(dead_at__isnull=True),
                name="delivery_due",
            ),
        )

    def __str__(self) -> str:
        return f"{self.event_id} to {self.listener}"


class Unsealed(models.Model):
    """An event that is in no seal yet. A trigger writes these, whoever adds the event."""

    event_id = models.BigIntegerField(primary_key=True)
    chain = models.UUIDField(null=True)  # whose: a tenant, or nobody

    class Meta:
        verbose_name_plural = "unsealed"

    def __str__(self) -> str:
        return str(self.event_id)


class Seal(models.Model):
    """A link of a tenant's hash chain: the digests of some events, and of the link before.

    No foreign keys: the chain outlives what it seals, so that a hole shows.
    """

    chain = models.UUIDField(null=True)  # a tenant; null: what belongs to none
    number = models.PositiveBigIntegerField()  # 1, 2, 3, … in each tenant's chain
    sealed_at = models.DateTimeField()
    event_ids = ArrayField(models.BigIntegerField())
    digests = models.BinaryField()  # SHA-256 of each event, one after the other
    previous = (
        models.BinaryField()
    )  # the digest of the link before; of the first, zeros
    digest = models.BinaryField()

    class Meta:
        ordering = ("chain", "number")
        constraints = (
            models.UniqueConstraint(
                fields=("chain", "number"),
                nulls_distinct=False,
                name="seal_once_per_place",
            ),
        )
        indexes = (models.Index(fields=("sealed_at",), name="seal_retention"),)

    def __str__(self) -> str:
        return f"seal {self.number} of {self.chain or 'the installation'}"
