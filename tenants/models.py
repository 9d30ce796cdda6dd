"""Tenants, the people in them, and the base of every row that a tenant owns."""

import uuid
from datetime import datetime
from typing import Any, ClassVar, Self

from django.contrib.auth.models import (
    AbstractBaseUser,
    BaseUserManager,
    PermissionsMixin,
)
from django.db import models
from django.db.models import Q
from django.utils.functional import cached_property

from tenants.constraints import SameTenant
from tenants.context import current_tenant_id, every_tenant_scope
from tenants.managers import TenantManager


class Role(models.TextChoices):
    """What a member may do; each role may do what the ones below it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    OWNER = "owner"

    def includes(self, other: "Role") -> bool:
        order = list(Role)
        return order.index(self) >= order.index(other)


class UserManager(BaseUserManager["User"]):
    """People are known by their e-mail address, whatever its case."""

    def create_user(self, email: str, password: str | None = None) -> "User":
        user = self.model(email=self.normalize(email))
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None) -> "User":
        user = self.model(email=self.normalize(email), is_superuser=True)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=self.normalize(username or ""))

    @staticmethod
    def normalize(email: str) -> str:
        return email.strip().lower()


class User(AbstractBaseUser, PermissionsMixin):
    """A person. What they may do is said by their memberships."""

    email = models.EmailField(unique=True)
    name = models.CharField(max_length=120, blank=True)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    # Somebody else knows the password: it lets its owner in to choose another.
    password_is_first = models.BooleanField(default=False, editable=False)

    objects: ClassVar = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"

    class Meta:
        ordering = ("email",)

    def __str__(self) -> str:
        return self.email

    def set_password(self, raw_password: str | None) -> None:
        self.password_is_first = False
        super().set_password(raw_password)

    @cached_property
    def is_staff(self) -> bool:
        """Whether this person may enter the portal: a superuser or anybody's member."""
        with every_tenant_scope():
            return (
                self.is_superuser
                or Membership.every_tenant.filter(user_id=self.pk).exists()
            )


class SecondFactor(models.Model):
    """A person's time-based one-time passwords; in use once it is confirmed."""

    user = models.OneToOneField(
        User, on_delete=models.CASCADE, primary_key=True, related_name="second_factor"
    )
    secret = models.CharField(max_length=255, editable=False)  # encrypted
    made_at = models.DateTimeField()
    confirmed_at = models.DateTimeField(null=True)
    last_step = models.BigIntegerField(default=0)  # no code counts twice
    recovery_digests = models.JSONField(default=list)

    def __str__(self) -> str:
        return f"second factor of {self.user_id}"


class Tenant(models.Model):
    """An organisation whose devices, members and records are nobody else's business."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slug = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=120)
    created_at = models.DateTimeField(auto_now_add=True)
    requires_second_factor = models.BooleanField(
        default=False, help_text="Members set one up before they can do anything."
    )

    seen_by: ClassVar[Role] = Role.ADMIN
    managed_by: ClassVar[Role] = Role.OWNER

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.name


class TenantOwned(models.Model):
    """A row of exactly one tenant, seen by that tenant and by system code only.

    The tenant comes from the context in which the row is made. Whoever subclasses
    this is found by the isolation tests; every foreign key to another such model
    wants a `SameTenant` constraint.
    """

    tenant = models.ForeignKey(
        Tenant,
        on_delete=models.PROTECT,
        default=current_tenant_id,
        related_name="+",
        db_index=False,  # each model leads its own indexes with the tenant
    )

    seen_by: ClassVar[Role] = Role.VIEWER
    managed_by: ClassVar[Role] = Role.OPERATOR

    objects: ClassVar = TenantManager()
    every_tenant: ClassVar = models.Manager()

    class Meta:
        abstract = True
        base_manager_name = "every_tenant"


class Membership(TenantOwned):
    """A person's place in a tenant."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.VIEWER)
    created_at = models.DateTimeField(auto_now_add=True)

    seen_by = Role.ADMIN
    managed_by = Role.ADMIN

    class Meta(TenantOwned.Meta):
        ordering = ("created_at",)
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "user"), name="membership_once_per_tenant"
            ),
            models.UniqueConstraint(
                fields=("tenant", "id"), name="membership_with_its_tenant"
            ),
        )

    def __str__(self) -> str:
        return f"{self.user}, {self.get_role_display()}"


class IssuedTokenQuerySet(models.QuerySet[Any]):
    """Questions about tokens that are handed out."""

    def usable(self, now: datetime) -> Self:
        """Neither revoked nor expired."""
        return self.filter(
            Q(expires_at__isnull=True) | Q(expires_at__gt=now), revoked_at__isnull=True
        )


class IssuedToken(TenantOwned):
    """A token handed out once; what is kept is its hash."""

    prefix: ClassVar[str]
    noun: ClassVar[str]  # what events call it

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    hint = models.CharField(max_length=16, editable=False)
    created_at = models.DateTimeField(editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    seen_by = Role.ADMIN
    managed_by = Role.ADMIN

    objects: ClassVar = TenantManager.from_queryset(IssuedTokenQuerySet)()
    every_tenant: ClassVar = IssuedTokenQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        abstract = True
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.name} ({self.hint})"

    def state(self, now: datetime) -> str:
        """`revoked`, `expired` or `usable`."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "usable"


class ApiToken(IssuedToken):
    """A member's `usr_` token: it may what the member may."""

    prefix = "usr_"
    noun = "api_token"

    membership = models.ForeignKey(
        Membership, on_delete=models.CASCADE, related_name="api_tokens"
    )

    class Meta(IssuedToken.Meta):
        abstract = False
        constraints = (
            SameTenant("membership", name="api_token_of_its_members_tenant"),
        )
