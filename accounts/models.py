"""Invitations, sessions in the portal, single sign-on, and requests that are done once."""

import uuid
from datetime import datetime
from typing import ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from tenants.constraints import SameTenant
from tenants.context import current_tenant_id
from tenants.managers import TenantManager
from tenants.models import ApiToken, Role, Tenant, TenantOwned, User


class InvitationQuerySet(models.QuerySet["Invitation"]):
    """Queries for invitations; each method narrows the queryset."""

    def unanswered(self) -> Self:
        """Return invitations that were neither accepted, declined nor withdrawn."""
        return self.filter(ended_at__isnull=True)

    def pending(self, now: datetime) -> Self:
        return self.unanswered().filter(expires_at__gt=now)


class Invitation(TenantOwned):
    """An invitation to become a member of a tenant. Its link works once, until it expires.

    Only a link that was mailed proves that the person has the address.
    """

    class End(models.TextChoices):
        ACCEPTED = "accepted"
        DECLINED = "declined"
        WITHDRAWN = "withdrawn"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField("e-mail address")
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.VIEWER)
    invited_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    digest = models.CharField(max_length=64, unique=True, editable=False)  # of the token
    encrypted_token = models.CharField(max_length=255, blank=True, editable=False)  # until mailed
    is_mailed = models.BooleanField(editable=False)
    created_at = models.DateTimeField(editable=False)
    expires_at = models.DateTimeField(editable=False)
    ended_at = models.DateTimeField(null=True, editable=False)
    end = models.CharField(max_length=9, choices=End.choices, blank=True, editable=False)

    view_role = Role.ADMIN
    manage_role = Role.ADMIN

    objects = TenantManager.from_queryset(InvitationQuerySet)()
    every_tenant = InvitationQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        ordering = ("-created_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "email"),
                condition=Q(ended_at__isnull=True),
                name="invitation_unanswered_once",
            ),
        )

    def __str__(self) -> str:
        return f"{self.email}, {self.get_role_display()}"

    def state(self, now: datetime) -> str:
        """Return `pending`, `expired`, or how the invitation ended."""
        if self.end:
            return str(self.end)
        return "pending" if self.expires_at > now else "expired"


class UserSession(models.Model):
    """A session of a user in the portal. Without this row, the session is signed out."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sessions")
    began_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()  # to five minutes
    address = models.GenericIPAddressField(null=True)
    browser = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ("-last_seen_at", "-id")
        indexes = (models.Index(fields=("last_seen_at",), name="session_retention"),)

    def __str__(self) -> str:
        return f"session of {self.user_id}"


class SignInProvider(TenantOwned):
    """The provider of OpenID Connect with which members of a tenant can sign in."""

    tenant = models.OneToOneField(
        Tenant,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="+",
        default=current_tenant_id,
    )
    issuer = models.CharField(max_length=300)  # an address
    client_id = models.CharField(max_length=255)
    client_secret = models.CharField(max_length=1000, editable=False)  # encrypted
    domains = ArrayField(models.CharField(max_length=253))  # of accepted e-mail addresses
    # The role of a person who signs in for the first time; "" if only members may sign in.
    default_role = models.CharField(max_length=16, choices=Role.choices, blank=True)
    is_enabled = models.BooleanField(default=True)

    view_role = Role.ADMIN
    manage_role = Role.OWNER

    objects = TenantManager()
    every_tenant = models.Manager()  # a manager, not a field

    class Meta(TenantOwned.Meta):
        verbose_name = "single sign-on"
        verbose_name_plural = "single sign-on"

    def __str__(self) -> str:
        return self.issuer


class SignInIdentity(TenantOwned):
    """Who a user is for the provider of a tenant. The address of a person can change."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    issuer = models.CharField(max_length=300)
    subject = models.CharField(max_length=255)
    created_at = models.DateTimeField()

    objects = TenantManager()
    every_tenant = models.Manager()  # a manager, not a field

    class Meta(TenantOwned.Meta):
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "issuer", "subject"), name="identity_once_per_tenant"
            ),
        )

    def __str__(self) -> str:
        return self.subject


class IdempotentRequest(TenantOwned):
    """A request of a member with an `Idempotency-Key`, and its response once it has ended."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    token = models.ForeignKey(ApiToken, on_delete=models.CASCADE, related_name="+")
    key_digest = models.CharField(max_length=64)  # SHA-256, hex
    fingerprint = models.CharField(max_length=64)  # SHA-256 of method, address and body, hex
    started_at = models.DateTimeField()
    status = models.PositiveSmallIntegerField(null=True)
    content = models.TextField(blank=True)  # encrypted, because a response may have a token
    content_type = models.CharField(max_length=100, blank=True)
    is_exported: ClassVar = False  # a response may have a token

    objects = TenantManager()
    every_tenant = models.Manager()  # a manager, not a field

    class Meta(TenantOwned.Meta):
        constraints = (
            models.UniqueConstraint(fields=("token", "key_digest"), name="request_once_per_key"),
            SameTenant("token", name="request_of_its_tenants_token"),
        )
        indexes = (models.Index(fields=("started_at",), name="idempotent_request_oldest"),)

    def __str__(self) -> str:
        return f"request of {self.token_id}"
