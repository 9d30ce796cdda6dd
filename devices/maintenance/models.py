"""The model of maintenance windows."""

import uuid
from datetime import datetime
from typing import Any, Self

from django.db import models
from django.db.models import F, Q

from devices.registry.models import Device, Site, Tag
from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import TenantOwned


class MaintenanceWindowQuerySet(models.QuerySet["MaintenanceWindow"]):
    """Filters of maintenance windows."""

    def may_be_open(self, now: datetime) -> Self:
        """Filter the weekly windows, and the others that are open."""
        is_open = Q(starts_at__lte=now, ends_at__gt=now)
        return self.filter(Q(recurrence=MaintenanceWindow.Recurrence.WEEKLY) | is_open)

    def not_over(self, now: datetime) -> Self:
        return self.filter(Q(ends_at__isnull=True) | Q(ends_at__gt=now))


class MaintenanceWindow(TenantOwned):
    """A time in which alerts and commands of some devices are held back.

    A window lasts from `starts_at` to `ends_at`, or repeats every week. Then `times` are entries
    of `core.weekly_times`, in `time_zone`. Without a time zone, they are in the time zone of each
    device's site, see `services.open_windows`.
    """

    class Recurrence(models.TextChoices):
        ONCE = "once"
        WEEKLY = "weekly", "Every week"

    class Scope(models.TextChoices):
        ALL = "all", "All devices"
        SITE = "site", "Devices at a site"
        TAG = "tag", "Devices with a tag"
        DEVICE = "device", "One device"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120)
    notes = models.CharField(max_length=2000, blank=True)
    scope = models.CharField(max_length=6, choices=Scope.choices, default=Scope.ALL)
    site = models.ForeignKey(
        Site, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    tag = models.ForeignKey(Tag, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    device = models.ForeignKey(
        Device, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    recurrence = models.CharField(max_length=6, choices=Recurrence.choices, default=Recurrence.ONCE)
    starts_at = models.DateTimeField(null=True, blank=True)
    ends_at = models.DateTimeField(null=True, blank=True)
    times: Any = models.JSONField(default=list, blank=True)
    time_zone = models.CharField(max_length=64, blank=True)  # a name of the IANA database
    holds_alerts = models.BooleanField(default=True)
    holds_commands = models.BooleanField(default=True)
    created_at = models.DateTimeField(editable=False)

    objects = TenantManager.from_queryset(MaintenanceWindowQuerySet)()
    every_tenant = MaintenanceWindowQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        verbose_name = "maintenance window"
        ordering = ("-created_at", "-id")
        constraints = (
            SameTenant("site", name="window_for_its_tenants_site"),
            SameTenant("tag", name="window_for_its_tenants_tag"),
            SameTenant("device", name="window_for_its_tenants_device"),
            models.CheckConstraint(
                name="window_scope_has_its_subject",
                condition=Q(scope="all", tag=None, device=None, site=None)
                | Q(scope="site", tag=None, device=None, site__isnull=False)
                | Q(scope="tag", tag__isnull=False, device=None, site=None)
                | Q(scope="device", tag=None, device__isnull=False, site=None),
            ),
            models.CheckConstraint(
                name="window_has_its_times",
                condition=Q(recurrence="once", starts_at__lt=F("ends_at"))
                | Q(recurrence="weekly", starts_at=None, ends_at=None),
            ),
        )
        indexes = (
            models.Index(fields=("tenant", "-created_at", "-id"), name="window_newest"),
            models.Index(fields=("ends_at",), name="window_ends"),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def is_local(self) -> bool:
        """Whether its times are in the time zone of each device's site."""
        return self.recurrence == self.Recurrence.WEEKLY and not self.time_zone
