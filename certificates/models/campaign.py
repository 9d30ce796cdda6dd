"""Renewal campaigns: early renewals after an incident, or to move to another CA."""

import uuid
from datetime import datetime, timedelta
from typing import ClassVar, Self

from django.db import models
from django.db.models import Q

from tenants.models import Role, Tenant


class CampaignQuerySet(models.QuerySet["RenewalCampaign"]):
    def running(self) -> Self:
        return self.filter(ended_at__isnull=True)


class RenewalCampaign(models.Model):
    """A campaign that renews certificates early, at a fixed rate.

    It renews certificates that were issued before its start, in the order of their serial
    numbers, which are random. It stores the last serial number reached. After an outage the
    campaign continues from this number at the same rate.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, null=True, blank=True)
    model = models.CharField(max_length=64, blank=True)
    authority_key_id = models.CharField(max_length=64, blank=True)
    reason = models.CharField(max_length=200)
    per_minute = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    advanced_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    stopped = models.BooleanField(default=False)  # by an operator, before the campaign was done
    certificates = models.PositiveIntegerField(default=0)  # in scope at the start
    renewed = models.PositiveIntegerField(default=0)  # queued for renewal so far
    reached = models.CharField(max_length=40, blank=True)  # last serial number queued

    view_role: ClassVar[Role | None] = None
    manage_role: ClassVar[Role | None] = None

    objects = CampaignQuerySet.as_manager()

    class Meta:
        ordering = ("-started_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "model", "authority_key_id"),
                condition=Q(ended_at__isnull=True),
                nulls_distinct=False,
                name="campaign_of_a_scope_once_at_a_time",
            ),
            models.CheckConstraint(name="campaign_has_a_rate", condition=Q(per_minute__gte=1)),
        )

    def __str__(self) -> str:
        return self.reason

    def expected_renewal_at(self, serial_number: str) -> datetime:
        """Estimate when the campaign will reach a certificate if there is no interruption."""
        span = timedelta(minutes=self.certificates / self.per_minute)
        return self.started_at + span * serial_position(serial_number)


def serial_position(serial_number: str) -> float:
    """Return the relative position (0 to 1) of a serial number in text order.

    Serial numbers are random, so the position is also the share of all serial numbers
    that come before it.
    """
    leading = int(serial_number[:8].ljust(8, "0"), 16) / 16**8
    return max(0.0, (leading - 1 / 16) * 16 / 15)  # the first digit is never 0
