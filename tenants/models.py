"""Tenants, users, memberships, tokens, and the base model of rows owned by a tenant."""

import uuid
from datetime import datetime
from typing import Any, ClassVar, Self

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.db.models import Q
from django.utils.functional import cached_property

from tenants.constraints import SameTenant
from tenants.context import current_tenant_id, every_tenant_scope
from tenants.managers import TenantManager


class Role(models.TextChoices):
    """The role of a member. Each role has the permissions of all roles listed before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    OWNER = "owner"

    def includes(self, other: "Role") -> bool:
        order = list(Role)
        return order.index(self) >= order.index(other)


class UserManager(BaseUserManager["User"]):
    """Manager of users, who are identified by e-mail address without regard to case."""

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
    """A user account. Memberships define what the user may do."""

    email = models.EmailField(unique=True)
    name = models.CharField(max_length=120, blank=True)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    time_zone = models.CharField(max_length=64, blank=True, db_default="")  # "": the browser's
    # Columns that the user chose, by the model of a list, such as `devices.device`.
    list_columns: Any = models.JSONField(default=dict, db_default={}, editable=False)
    # The initial password is known to somebody else, so the user must change it.
    password_is_first = models.BooleanField(default=False, editable=False)
    # False if the account was created by a link that was not mailed to the address.
    address_proved = models.BooleanField(default=True, db_default=True, editable=False)

    objects = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"

    class Meta:
        ordering = ("email",)

    def __str__(self) -> str:
        return self.email

    def set_password(self, raw_password: str | None) -> None:
        self.password_is_first = False
        super().set_password(raw_password)

    @property
    def sees_every_tenant(self) -> bool:
        """Return whether the user is a superuser who has not entered one tenant."""
        return self.is_superuser and current_tenant_id() is None

    @property
    def has_second_factor(self) -> bool:
        """Return whether the user has an active second factor."""
        factor = getattr(self, "second_factor", None)
        return factor is not None and factor.confirmed_at is not None

    @cached_property
    def is_staff(self) -> bool:
        """Return whether the user may use the portal. Superusers and members of tenants may."""
        known = getattr(self, "_memberships", None)  # see `roles.memberships_of`
        if known is not None:
            return self.is_superuser or bool(known)
        with every_tenant_scope():
            return self.is_superuser or Membership.every_tenant.filter(user_id=self.pk).exists()


class SecondFactor(models.Model):
    """A user's second factor (RFC 6238). It is active if `confirmed_at` is set."""

    user = models.OneToOneField(
        User, on_delete=models.CASCADE, primary_key=True, related_name="second_factor"
    )
    secret = models.CharField(max_length=255, editable=False)  # encrypted
    made_at = models.DateTimeField()
    confirmed_at = models.DateTimeField(null=True)
    last_step = models.BigIntegerField(default=0)  # prevents the reuse of a code
    recovery_digests = models.JSONField(default=list)

    def __str__(self) -> str:
        return f"second factor of {self.user_id}"


class Tenant(models.Model):
    """An organisation. Its devices, members and records are invisible to other tenants."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slug = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=120)
    created_at = models.DateTimeField(auto_now_add=True)
    requires_second_factor = models.BooleanField(
        default=False,
        help_text="Members must set up a second factor before they can use the portal.",
    )
    accepts_mqtt = models.BooleanField(default=False, db_default=False)
    brand_name = models.CharField(max_length=40, blank=True, db_default="")
    brand_color = models.CharField(max_length=7, blank=True, db_default="")  # such as #0a5c9e
    logo_version = models.CharField(max_length=12, blank=True, db_default="", editable=False)
    suspended_at = models.DateTimeField(null=True, editable=False)
    suspension_reason = models.CharField(max_length=200, blank=True, db_default="", editable=False)
    deletion_due_at = models.DateTimeField(null=True, editable=False)
    is_suspended_by_operator = models.BooleanField(default=False, db_default=False, editable=False)

    view_role: ClassVar[Role] = Role.ADMIN
    manage_role: ClassVar[Role] = Role.OWNER

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.name


class TenantOwned(models.Model):
    """Base model of rows that belong to one tenant.

    Only this tenant and system code can see the row. By default, a new row belongs to the
    current tenant. The isolation tests cover every subclass. Every foreign key from one
    subclass to another needs a `SameTenant` constraint.
    """

    tenant = models.ForeignKey(
        Tenant,
        on_delete=models.PROTECT,
        default=current_tenant_id,
        related_name="+",
        db_index=False,  # the indexes of each model start with the tenant
    )

    view_role: ClassVar[Role] = Role.VIEWER
    manage_role: ClassVar[Role] = Role.OPERATOR

    objects = TenantManager()
    every_tenant = models.Manager()  # noqa: DJ012 # a manager, not a field

    class Meta:
        abstract = True
        base_manager_name = "every_tenant"


class TenantRevision(TenantOwned):
    """A number that grows when facts change that device requests read. See `revisions`."""

    tenant = models.OneToOneField(
        Tenant, on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    number = models.PositiveBigIntegerField(default=0, db_default=0)

    class Meta(TenantOwned.Meta):
        pass

    def __str__(self) -> str:
        return f"revision {self.number} of {self.tenant_id}"


class Membership(TenantOwned):
    """The role of a user in a tenant."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.VIEWER)
    created_at = models.DateTimeField(auto_now_add=True)
    wants_weekly_report = models.BooleanField(default=False, db_default=False, editable=False)
    report_sent_at = models.DateTimeField(null=True, editable=False)

    view_role = Role.ADMIN
    manage_role = Role.ADMIN

    class Meta(TenantOwned.Meta):
        ordering = ("created_at",)
        constraints = (
            models.UniqueConstraint(fields=("tenant", "user"), name="membership_once_per_tenant"),
            models.UniqueConstraint(fields=("tenant", "id"), name="membership_with_its_tenant"),
        )

    def __str__(self) -> str:
        return f"{self.user}, {self.get_role_display()}"


class IssuedTokenQuerySet(models.QuerySet[Any]):
    """Queries for issued tokens."""

    def usable(self, now: datetime) -> Self:
        """Return tokens that are neither revoked nor expired."""
        return self.filter(
            Q(expires_at__isnull=True) | Q(expires_at__gt=now), revoked_at__isnull=True
        )


class IssuedToken(TenantOwned):
    """Base model of tokens. A token is shown once; only its hash is stored."""

    prefix: ClassVar[str]
    noun: ClassVar[str]  # name in events

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    hint = models.CharField(max_length=16, editable=False)
    created_at = models.DateTimeField(editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)  # to five minutes

    view_role = Role.ADMIN
    manage_role = Role.ADMIN

    objects = TenantManager.from_queryset(IssuedTokenQuerySet)()
    every_tenant = IssuedTokenQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        abstract = True
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.name} ({self.hint})"

    def state(self, now: datetime) -> str:
        """Return `revoked`, `expired` or `usable`."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "usable"


class ApiToken(IssuedToken):
    """An API token (prefix `usr_`) with the permissions of its member."""

    prefix = "usr_"
    noun = "api_token"
    view_role = Role.VIEWER  # of their own tokens
    manage_role = Role.VIEWER

    membership = models.ForeignKey(Membership, on_delete=models.CASCADE, related_name="api_tokens")

    class Meta(IssuedToken.Meta):
        abstract = False
        constraints = (
            models.UniqueConstraint(fields=("tenant", "id"), name="api_token_with_its_tenant"),
            SameTenant("membership", name="api_token_of_its_members_tenant"),
        )


class SavedView(TenantOwned):
    """The filters, the order and the columns of a list, under a name. See `saved_views`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # The owner; null if the view belongs to the tenant.
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, null=True, related_name="saved_views", db_index=False
    )
    model = models.CharField(max_length=80)  # of the list, such as `devices.device`
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=2000, blank=True)
    columns: Any = models.JSONField(default=list)
    created_at = models.DateTimeField()

    class Meta(TenantOwned.Meta):
        verbose_name = "saved view"
        ordering = ("name", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "model", "user", "name"),
                name="view_once_per_owner",
                nulls_distinct=False,
            ),
        )
        indexes = (models.Index(fields=("user",), name="view_of_user"),)

    def __str__(self) -> str:
        return self.name


class TenantLogo(TenantOwned):
    """The logo of a tenant's portal, a PNG image."""

    tenant = models.OneToOneField(
        Tenant, on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    image = models.BinaryField()

    class Meta(TenantOwned.Meta):
        pass

    def __str__(self) -> str:
        return f"logo of {self.tenant_id}"


class DeletedTenant(models.Model):
    """What is left of a tenant that was deleted: its id, and the end of its audit log."""

    id = models.UUIDField(primary_key=True, editable=False)
    deleted_at = models.DateTimeField()
    audit_digest = models.CharField(max_length=64, blank=True)  # of the last seal, hex

    def __str__(self) -> str:
        return str(self.id)
