"""Remote control sessions. A database constraint allows one open session per device."""

import uuid
from datetime import datetime
from typing import ClassVar, Self

from django.db import models
from django.db.models import Q

from devices.registry.models import Device
from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import Role, TenantOwned, User


class SessionQuerySet(models.QuerySet["RemoteControlSession"]):
    """Filters on sessions."""

    def open(self) -> Self:
        return self.filter(ended_at__isnull=True)

    def in_use(self, since: datetime) -> Self:
        """Open sessions that are not idle: they were last used after `since`."""
        return self.open().filter(last_used_at__gt=since)

    def unused(self, since: datetime) -> Self:
        """Open sessions that are idle: they were last used at `since` or before."""
        return self.open().filter(last_used_at__lte=since)


class RemoteControlSession(TenantOwned):
    """A member's exclusive control of a device, from start to end."""

    class End(models.TextChoices):
        BY_HAND = "by_hand", "ended by the controller"
        IDLE = "idle", "idle for too long"
        OFFLINE = "offline", "the device went offline"
        ADMINISTRATOR = "administrator", "ended by an administrator"
        DEVICE = "device", "the device was retired or put in quarantine"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="control_sessions")
    controller = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    started_at = models.DateTimeField()
    last_used_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    end = models.CharField(max_length=13, choices=End.choices, blank=True)

    # Permission names, such as `remote_control.manage_remote_control`.
    grants: ClassVar[dict[str, Role]] = {
        "manage_remote_control": Role.OPERATOR,
        "end_any_session": Role.ADMIN,
    }

    objects = TenantManager.from_queryset(SessionQuerySet)()
    every_tenant = SessionQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        verbose_name = "remote control session"
        ordering = ("-started_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("device",),
                condition=Q(ended_at__isnull=True),
                name="one_controller_of_a_device",
            ),
            models.UniqueConstraint(fields=("tenant", "id"), name="session_with_its_tenant"),
            SameTenant("device", name="session_of_its_tenants_device"),
        )
        indexes = (
            models.Index(fields=("tenant", "-started_at", "-id"), name="sessions_newest"),
            models.Index(
                fields=("last_used_at",), condition=Q(ended_at__isnull=True), name="sessions_open"
            ),
        )

    def __str__(self) -> str:
        return f"{self.controller} on {self.device}"
