"""Device certificates and their status."""

import uuid
from datetime import datetime, timedelta
from typing import ClassVar, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from django.db import models
from django.db.models import Exists, F, OuterRef, Q

from certificates.models.revocation_list import RevocationList
from certificates.pki.keys import DevicePublicKey, require_acceptable_key
from devices.registry.models import Device
from tenants.models import Role


class CertificateQuerySet(models.QuerySet["DeviceCertificate"]):
    """Filters for certificates."""

    def of_current_tenant(self) -> Self:
        """Certificates of the current tenant's devices.

        The table has no tenant column, so every query for a member needs this filter.
        """
        return self.filter(Exists(Device.objects.filter(pk=OuterRef("device_id"))))

    def of_device(self, device_id: object) -> Self:
        return self.filter(device_id=device_id)

    def signed(self) -> Self:
        """Rows whose certificate was signed and activated."""
        return self.exclude(
            status__in=(DeviceCertificate.Status.PENDING, DeviceCertificate.Status.FAILED)
        )

    def pending(self) -> Self:
        return self.filter(status=DeviceCertificate.Status.PENDING)

    def active(self) -> Self:
        """The certificate that a device should use now; at most one per device."""
        return self.filter(status=DeviceCertificate.Status.ACTIVE, handover_until__isnull=True)

    def past_handover(self, now: datetime) -> Self:
        """Active certificates that have a successor and whose handover period is over."""
        return self.filter(status=DeviceCertificate.Status.ACTIVE, handover_until__lte=now)

    def revoked(self) -> Self:
        return self.filter(status=DeviceCertificate.Status.REVOKED)

    def unlisted(self) -> Self:
        """Revoked certificates that are not on their revocation lists yet."""
        return self.revoked().filter(listed_at__isnull=True)

    def signed_by(self, authority_key_id: str) -> Self:
        return self.filter(authority_key_id=authority_key_id)

    def accepted(self) -> Self:
        """Certificates that verifiers accept: neither revoked nor expired."""
        return self.filter(
            status__in=(DeviceCertificate.Status.ACTIVE, DeviceCertificate.Status.SUPERSEDED)
        )

    def expiring(self, now: datetime, window: timedelta) -> Self:
        """Certificates in use that end within `window`, or have ended already."""
        return self.active().filter(not_after__lte=now + window)

    def due_for_warning(self, now: datetime, window: timedelta) -> Self:
        return self.expiring(now, window).filter(not_after__gt=now, warned_at__isnull=True)

    def due_for_renewal(self, now: datetime, window: timedelta) -> Self:
        """Certificates that end within `window` and may be renewed now."""
        due = self.expiring(now, window).ready_for_renewal(now)
        return due.filter(not_after__gt=now)

    def ready_for_renewal(self, now: datetime) -> Self:
        """Certificates for which no renewal attempt is in progress or postponed."""
        return self.filter(Q(renew_after__isnull=True) | Q(renew_after__lte=now))

    def due_for_expiration(self, now: datetime) -> Self:
        """Certificates that have ended and are not marked as expired yet."""
        return self.accepted().filter(not_after__lte=now)

    def stuck(self, before: datetime) -> Self:
        """Reservations that were made before the given time and are still unfinished."""
        return self.pending().filter(reserved_at__lt=before)


class DeviceCertificate(models.Model):
    """A certificate signed by the CA for a device of any tenant. Only its status changes.

    The row with the serial number is committed before the certificate is signed, so that
    every certificate in existence can be revoked. A renewal is a new row. Its field
    `replaces` refers to the old row.
    """

    class Status(models.TextChoices):
        PENDING = "pending"  # reserved; possibly signed already
        ACTIVE = "active"  # in use; with a successor, until the handover ends
        SUPERSEDED = "superseded"  # still valid, but its successor is in use
        EXPIRED = "expired"
        REVOKED = "revoked"
        FAILED = "failed"  # never activated; its serial number is not used again

    class Reason(models.TextChoices):
        """Revocation reasons of RFC 5280 §5.3.1 that apply to devices."""

        UNSPECIFIED = "unspecified", "Unspecified"
        KEY_COMPROMISE = "keyCompromise", "Key compromise"
        AFFILIATION_CHANGED = "affiliationChanged", "Affiliation changed"
        SUPERSEDED = "superseded", "Superseded"
        CESSATION_OF_OPERATION = "cessationOfOperation", "Cessation of operation"
        PRIVILEGE_WITHDRAWN = "privilegeWithdrawn", "Privilege withdrawn"

    class KeySource(models.TextChoices):
        SERVER = "server", "Generated by the server"
        DEVICE = "device", "Generated by the device"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    device = models.ForeignKey(
        Device, on_delete=models.PROTECT, related_name="certificates", db_index=False
    )
    serial_number = models.CharField(max_length=40)  # hex, lower case, no leading zero
    authority_key_id = models.CharField(max_length=64)  # key identifier of the CA, hex
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    key_source = models.CharField(max_length=6, choices=KeySource.choices)
    public_key_digest = models.CharField(max_length=64)  # SHA-256 of the SPKI, hex
    fingerprint = models.CharField(max_length=64, blank=True)  # SHA-256, hex
    pem = models.TextField(blank=True)
    not_before = models.DateTimeField(null=True)
    not_after = models.DateTimeField(null=True)
    reserved_at = models.DateTimeField()
    issued_at = models.DateTimeField(null=True)
    warned_at = models.DateTimeField(null=True)
    confirmed_at = models.DateTimeField(null=True)  # the device used or acknowledged it
    handover_until = models.DateTimeField(null=True)  # set if it has a successor
    key_delivered_at = models.DateTimeField(null=True)  # of a server-generated key
    renew_after = models.DateTimeField(null=True)  # no renewal attempt before then
    # The next attempt of a renewal that a member has requested for many devices.
    renewal_requested_at = models.DateTimeField(null=True)
    renewal_attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    revoked_at = models.DateTimeField(null=True)
    listed_at = models.DateTimeField(null=True)  # on all its revocation lists since then
    revocation_reason = models.CharField(max_length=24, choices=Reason.choices, blank=True)
    replaces = models.ForeignKey(
        "self", on_delete=models.PROTECT, related_name="successors", null=True, db_index=False
    )
    distribution_point = models.ForeignKey(
        RevocationList,
        on_delete=models.PROTECT,
        related_name="certificates",
        null=True,  # for certificates issued before lists were sharded
        db_index=False,
    )

    view_role: ClassVar[Role] = Role.VIEWER
    manage_role: ClassVar[Role] = Role.OPERATOR

    objects = CertificateQuerySet.as_manager()
    tenant_path = "device__tenant"  # of an archive

    class Meta:
        ordering = ("-reserved_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("authority_key_id", "serial_number"),
                name="certificate_serial_once_per_authority",
            ),
            models.UniqueConstraint(
                fields=("fingerprint",),
                condition=~Q(fingerprint=""),
                name="certificate_fingerprint_once",
            ),
            models.UniqueConstraint(
                fields=("device",),
                condition=Q(status="active", handover_until__isnull=True),
                name="certificate_one_in_use_per_device",
            ),
            models.UniqueConstraint(
                fields=("replaces",),
                condition=~Q(status__in=("pending", "failed", "revoked")),
                name="certificate_one_valid_successor",
            ),
            models.CheckConstraint(
                name="certificate_validity_is_forward", condition=Q(not_after__gt=F("not_before"))
            ),
            models.CheckConstraint(
                name="certificate_signed_is_whole",
                condition=Q(status__in=("pending", "failed"))
                | (
                    ~Q(pem="")
                    & ~Q(fingerprint="")
                    & Q(not_after__isnull=False, issued_at__isnull=False)
                ),
            ),
            models.CheckConstraint(
                name="certificate_revoked_with_reason",
                condition=Q(status="revoked", revoked_at__isnull=False) & ~Q(revocation_reason="")
                | (~Q(status="revoked") & Q(revoked_at__isnull=True)),
            ),
        )
        indexes = (
            models.Index(fields=("device", "-reserved_at"), name="certificate_of_device_newest"),
            models.Index(fields=("-reserved_at", "-id"), name="certificate_newest"),
            models.Index(fields=("serial_number",), name="certificate_by_serial"),
            models.Index(fields=("public_key_digest",), name="certificate_by_key"),
            models.Index(
                fields=("fingerprint",),
                condition=~Q(fingerprint=""),
                opclasses=("varchar_pattern_ops",),
                name="certificate_by_fingerprint",
            ),
            models.Index(
                fields=("renewal_requested_at",),
                condition=Q(renewal_requested_at__isnull=False),
                name="certificate_to_renew",
            ),
            models.Index(
                fields=("not_after",),
                condition=Q(status__in=("active", "superseded")),
                name="certificate_monitor",
            ),
            models.Index(
                fields=("authority_key_id", "not_after"),
                condition=Q(status="revoked"),
                name="certificate_complete_list",
            ),
            models.Index(
                fields=("distribution_point", "not_after"),
                condition=Q(status="revoked"),
                name="certificate_shard",
            ),
            models.Index(
                fields=("revoked_at",),
                condition=Q(status="revoked", listed_at__isnull=True),
                name="certificate_unlisted",
            ),
            models.Index(
                fields=("key_delivered_at",),
                condition=Q(key_delivered_at__isnull=False),
                name="certificate_key_delivered",
            ),
            models.Index(
                fields=("handover_until",),
                condition=Q(status="active", handover_until__isnull=False),
                name="certificate_handover",
            ),
            models.Index(
                fields=("reserved_at",), condition=Q(status="pending"), name="certificate_stuck"
            ),
        )

    def __str__(self) -> str:
        return self.serial_number

    @property
    def key_stored_on_server(self) -> bool:
        """True if the server generated the key and has not delivered it yet."""
        from_server = self.key_source == self.KeySource.SERVER
        return from_server and self.key_delivered_at is None

    def signed_certificate(self) -> x509.Certificate:
        """Parse the certificate. Only signed rows have one."""
        return x509.load_pem_x509_certificate(self.pem.encode())

    def public_key(self) -> DevicePublicKey:
        return require_acceptable_key(self.signed_certificate().public_key())

    def set_certificate(self, certificate: x509.Certificate) -> None:
        """Set the fields that are taken from the signed certificate."""
        self.pem = certificate.public_bytes(Encoding.PEM).decode()
        self.fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
        self.not_before = certificate.not_valid_before_utc
        self.not_after = certificate.not_valid_after_utc
