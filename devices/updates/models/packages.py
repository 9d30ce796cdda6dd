"""Models of products, packages, update signing keys and update policies."""

import uuid
from typing import ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from devices.remote_control.models import SigningKey
from devices.updates.versions import CHOICES, MAX_VERSION_LENGTH, PEP_440
from tenants.constraints import SameTenant
from tenants.managers import TenantManager
from tenants.models import Role, TenantOwned

DEFAULT_APPROVAL_ABOVE = 1_000  # devices
DEFAULT_CONCURRENT_DOWNLOADS = 100  # devices


class SoftwareProduct(TenantOwned):
    """Software that is installed on devices and released in versions."""

    class Reports(models.TextChoices):
        """Which version that a device reports is the version of the product: app or OS."""

        APP_VERSION = "app_version", "app version"
        OS_VERSION = "os_version", "OS version"

    class FileFormat(models.TextChoices):
        """Which files the packages of the product may have."""

        ANY = "any", "any file"
        APK = "apk", "Android packages (APK)"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=64)
    versioning = models.CharField(max_length=6, choices=CHOICES, default=PEP_440)
    reports = models.CharField(max_length=11, choices=Reports.choices, default=Reports.APP_VERSION)
    file_format = models.CharField(
        max_length=3, choices=FileFormat.choices, default=FileFormat.ANY, db_default=FileFormat.ANY
    )
    created_at = models.DateTimeField()

    manage_role: ClassVar[Role] = Role.ADMIN

    class Meta(TenantOwned.Meta):
        verbose_name = "product"
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="product_once"),
            models.UniqueConstraint(fields=("tenant", "id"), name="product_with_its_tenant"),
        )

    def __str__(self) -> str:
        return self.name


class PackageQuerySet(models.QuerySet["SoftwareUpdate"]):
    def released(self) -> Self:
        return self.filter(state=SoftwareUpdate.State.RELEASED)

    def active_with_file(self) -> Self:
        """Packages that have a file and are not withdrawn."""
        return self.exclude(sha256="").exclude(state=SoftwareUpdate.State.WITHDRAWN)


class SoftwareUpdate(TenantOwned):
    """A package: a version of a product with its file. A released package is immutable."""

    class State(models.TextChoices):
        DRAFT = "draft"
        RELEASED = "released"
        WITHDRAWN = "withdrawn"

    class Platform(models.TextChoices):
        ANDROID = "android", "Android"
        LINUX = "linux", "Linux"
        OTHER = "other"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    product = models.ForeignKey(SoftwareProduct, on_delete=models.PROTECT, related_name="packages")
    version = models.CharField(max_length=MAX_VERSION_LENGTH)
    changelog = models.TextField(blank=True)
    platform = models.CharField(max_length=7, choices=Platform.choices, default=Platform.ANDROID)
    target_models = ArrayField(models.CharField(max_length=64), default=list, blank=True)
    minimum_version = models.CharField(max_length=MAX_VERSION_LENGTH, blank=True)
    state = models.CharField(max_length=9, choices=State.choices, default=State.DRAFT)
    stored_name = models.CharField(max_length=200, blank=True)
    stored_files: ClassVar = {"stored_name": "packages"}  # of an archive
    size = models.PositiveBigIntegerField(null=True)  # bytes
    sha256 = models.CharField(max_length=64, blank=True)  # hexadecimal, as the next two
    sha1 = models.CharField(max_length=40, blank=True, db_default="", editable=False)
    md5 = models.CharField(max_length=32, blank=True, db_default="", editable=False)
    signature = models.TextField(blank=True)  # a JWS in compact form (RFC 7515)
    apk = models.JSONField(null=True)  # values of the manifest of an Android package
    created_by = models.CharField(max_length=254)
    created_at = models.DateTimeField()
    uploaded_at = models.DateTimeField(null=True)
    released_at = models.DateTimeField(null=True)
    withdrawn_at = models.DateTimeField(null=True)
    withdrawn_because = models.CharField(max_length=500, blank=True)
    is_closing = models.BooleanField(default=False)  # withdrawn; open updates are being cancelled

    manage_role: ClassVar[Role] = Role.ADMIN

    objects = TenantManager.from_queryset(PackageQuerySet)()
    every_tenant = PackageQuerySet.as_manager()

    class Meta(TenantOwned.Meta):
        verbose_name = "package"
        ordering = ("-created_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("product", "version"), name="version_of_a_product_once"
            ),
            models.UniqueConstraint(fields=("tenant", "id"), name="package_with_its_tenant"),
            SameTenant("product", name="package_of_its_tenants_product"),
        )
        indexes = (
            models.Index(fields=("tenant", "-created_at", "-id"), name="package_newest"),
            models.Index(
                fields=("stored_name",), condition=~Q(stored_name=""), name="package_stored"
            ),
            models.Index(
                fields=("withdrawn_at",), condition=Q(is_closing=True), name="package_closing"
            ),
        )

    def __str__(self) -> str:
        return f"{self.product} {self.version}"


class UpdateSigningKey(SigningKey):
    """A key that signs a tenant's packages.

    The public key is part of the configuration of each device. When the key is
    replaced, all packages are signed again, so devices need one public key only. The stored
    signatures are by Ed25519. Signatures by P-256 are made when a device asks.
    """

    purpose = "update signing keys"

    class Meta(SigningKey.Meta):
        abstract = False
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "algorithm"),
                condition=Q(replaced_at__isnull=True),
                name="one_key_signs_packages",
            ),
        )


class UpdatePolicy(TenantOwned):
    """A tenant's policy for rollouts. A tenant without a row has the defaults."""

    approval_above = models.PositiveIntegerField(
        default=DEFAULT_APPROVAL_ABOVE,
        help_text="Rollouts to more devices than this need the approval of a second member.",
    )
    concurrent_downloads = models.PositiveIntegerField(
        default=DEFAULT_CONCURRENT_DOWNLOADS,
        help_text="How many devices may download at the same time. Other devices try again later.",
    )
    updated_at = models.DateTimeField()

    view_role = Role.VIEWER
    manage_role = Role.ADMIN

    class Meta(TenantOwned.Meta):
        verbose_name = "update policy"
        verbose_name_plural = "update policies"
        constraints = (
            models.UniqueConstraint(fields=("tenant",), name="one_update_policy_of_a_tenant"),
        )

    def __str__(self) -> str:
        return "Update policy"
