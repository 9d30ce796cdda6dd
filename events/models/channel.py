"""Notification channels of a tenant, and the messages sent to them."""

import uuid
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from core.opaque_ids import PublicIdModel, PublicIdQuerySet
from events.severity import Severity
from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import Role, TenantOwned

TEST_NAME = "channel.tested"  # name of the event of a test message


def alerts() -> list[str]:
    """Default of `Channel.events`: all alert events."""
    return ["alert.*"]


class Channel(TenantOwned):
    """A notification channel: a webhook URL, or a list of mail recipients.

    An event is sent to a channel if it passes all filters: `events`, `least_severity` and
    `tag`.
    """

    class Kind(models.TextChoices):
        WEBHOOK = "webhook"
        MAIL = "mail"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    url = models.CharField(max_length=500, blank=True)  # of a webhook
    recipients = ArrayField(models.EmailField(), default=list, blank=True)  # of mails
    events = ArrayField(models.CharField(max_length=64), default=alerts)
    least_severity = models.CharField(max_length=8, choices=Severity.choices, blank=True)
    tag = models.CharField(max_length=64, blank=True)  # name of a device tag
    is_enabled = models.BooleanField(default=True)
    secret = models.CharField(max_length=255, blank=True, editable=False)  # encrypted
    former_secret = models.CharField(max_length=255, blank=True, editable=False)
    former_secret_until = models.DateTimeField(null=True, editable=False)
    rests_until = models.DateTimeField(null=True, editable=False)
    failing_since = models.DateTimeField(null=True, editable=False)  # no message succeeded since
    failing_reason = models.CharField(max_length=200, blank=True, db_default="", editable=False)
    failing_reported_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(editable=False)

    view_role = Role.ADMIN
    manage_role = Role.ADMIN

    class Meta(TenantOwned.Meta):
        ordering = ("name", "id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="channel_once"),
            models.UniqueConstraint(fields=("tenant", "id"), name="channel_with_its_tenant"),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def state(self) -> str:
        """Return `off`, `broken` (failing for a day), `failing` or `on`."""
        if not self.is_enabled:
            return "off"
        if self.failing_reported_at is not None:
            return "broken"
        return "on" if self.failing_since is None else "failing"


class ChannelDeliveryQuerySet(PublicIdQuerySet["ChannelDelivery"]):
    """Queries for messages; each method narrows the queryset."""

    def waiting(self) -> Self:
        return self.filter(delivered_at__isnull=True, dead_at__isnull=True)

    def dead(self) -> Self:
        return self.filter(dead_at__isnull=False)


class ChannelDelivery(PublicIdModel, TenantOwned):
    """A message: one event for one channel. Messages are deleted after a week."""

    id = models.BigAutoField(primary_key=True)
    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="deliveries")
    event_id = models.BigIntegerField()  # no foreign key: events are deleted separately
    name = models.CharField(max_length=64)
    device_id = models.UUIDField(null=True)  # messages of a device are sent in order
    created_at = models.DateTimeField()
    due_at = models.DateTimeField()
    attempts = models.PositiveSmallIntegerField(default=0)
    delivered_at = models.DateTimeField(null=True)
    dead_at = models.DateTimeField(null=True)
    log = models.JSONField(default=list)  # {at, milliseconds, status, answer}

    public_id_purpose = "message id"
    view_role = Role.ADMIN
    manage_role = Role.ADMIN

    objects = TenantManager.from_queryset(ChannelDeliveryQuerySet)()
    every_tenant = ChannelDeliveryQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        verbose_name = "message"
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("channel", "event_id"), name="told_once_per_channel"),
            SameTenant("channel", name="told_on_its_tenants_channel"),
        )
        indexes = (
            models.Index(fields=("tenant", "-id"), name="told_newest"),
            models.Index(
                fields=("channel", "device_id", "id"),
                condition=Q(delivered_at__isnull=True, dead_at__isnull=True),
                name="told_in_order",
            ),
            models.Index(
                fields=("due_at",),
                condition=Q(delivered_at__isnull=True, dead_at__isnull=True),
                name="told_due",
            ),
            models.Index(
                fields=("channel", "id"),
                condition=Q(delivered_at__isnull=True, dead_at__isnull=True),
                name="told_waiting",
            ),
            models.Index(
                fields=("due_at",),
                condition=Q(delivered_at__isnull=True, dead_at__isnull=True, name=TEST_NAME),
                name="told_tests",
            ),
            models.Index(fields=("created_at",), name="told_retention"),
        )

    def __str__(self) -> str:
        return f"{self.name} to {self.channel_id}"

    @property
    def state(self) -> str:
        """Return `delivered`, `dead` or `waiting`."""
        if self.delivered_at is not None:
            return "delivered"
        return "waiting" if self.dead_at is None else "dead"
