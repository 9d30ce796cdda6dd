"""Who signs, who signed before, and who answers for them."""

from datetime import datetime, timedelta
from functools import lru_cache
from typing import ClassVar, Self

from cryptography import x509
from django.db import models
from django.db.models import Q

from tenants.models import Role


class AuthorityQuerySet(models.QuerySet["CertificateAuthority"]):
    """Questions about authorities; each returns a narrower queryset."""

    def trusted(self) -> Self:
        """Those whose certificates are accepted, and whose own certificate is served."""
        return self.exclude(status=CertificateAuthority.Status.RETIRED)

    def issuing(self) -> Self:
        return self.filter(level=CertificateAuthority.Level.ISSUING)

    def signing(self) -> Self:
        """The one that signs now, if there is one."""
        return self.filter(status=CertificateAuthority.Status.SIGNING)

    def identified(self, key_identifier: str) -> Self:
        return self.filter(key_identifier=key_identifier)


class CertificateAuthority(models.Model):
    """One CA: the certificate it is known by, and its part now. Its key is in a file.

    A successor is prepared beside the one that signs, takes over, and the old one stays
    trusted until the last device has moved.
    """

    class Level(models.TextChoices):
        ISSUING = "issuing", "issues to devices"
        ROOT = "root", "issues to authorities"

    class Status(models.TextChoices):
        NEXT = "next", "prepared"  # trusted already, does not sign yet
        SIGNING = "signing", "signing"
        TRUSTED = "trusted", "trusted"  # signs lists and answers only
        RETIRED = "retired", "retired"

    key_identifier = models.CharField(max_length=64, unique=True)  # hex
    level = models.CharField(max_length=7, choices=Level.choices, default=Level.ISSUING)
    status = models.CharField(max_length=7, choices=Status.choices)
    subject = models.CharField(max_length=255)
    public_key_digest = models.CharField(max_length=64, unique=True)  # SHA-256, hex
    chain = models.TextField()  # PEM, its own certificate first
    not_before = models.DateTimeField()
    not_after = models.DateTimeField()
    created_at = models.DateTimeField()
    signing_since = models.DateTimeField(null=True)
    superseded_at = models.DateTimeField(null=True)
    retired_at = models.DateTimeField(null=True)

    seen_by: ClassVar[Role | None] = None  # the operator's alone
    managed_by: ClassVar[Role | None] = None

    objects: ClassVar = AuthorityQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "certificate authorities"
        ordering = ("-created_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("status",),
                condition=Q(status="signing"),
                name="authority_one_signs",
            ),
            models.UniqueConstraint(
                fields=("status",),
                condition=Q(status="next"),
                name="authority_one_is_next",
            ),
        )

    def __str__(self) -> str:
        return self.subject

    def certificates(self) -> tuple[x509.Certificate, ...]:
        """Its own certificate and those above it."""
        return _parsed(self.chain)

    def certificate(self) -> x509.Certificate:
        return self.certificates()[0]


@lru_cache(maxsize=32)
def _parsed(chain: str) -> tuple[x509.Certificate, ...]:
    return tuple(x509.load_pem_x509_certificates(chain.encode()))


class ResponderQuerySet(models.QuerySet["Responder"]):
    def lasting(self, now: datetime, span: timedelta) -> Self:
        """Still valid after so long."""
        return self.filter(not_after__gt=now + span)


class Responder(models.Model):
    """A delegated OCSP responder: some days of certificate, and its key, encrypted."""

    authority = models.ForeignKey(
        CertificateAuthority, on_delete=models.CASCADE, related_name="responders"
    )
    serial_number = models.CharField(max_length=40)  # hex
    public_key_digest = models.CharField(max_length=64, unique=True)  # SHA-256, hex
    pem = models.TextField()
    encrypted_key = models.TextField()
    not_after = models.DateTimeField()
    created_at = models.DateTimeField()

    seen_by: ClassVar[Role | None] = None
    managed_by: ClassVar[Role | None] = None

    objects: ClassVar = ResponderQuerySet.as_manager()

    class Meta:
        verbose_name = "OCSP responder"
        constraints = (
            models.UniqueConstraint(
                fields=("authority", "serial_number"),
                name="responder_serial_once_per_authority",
            ),
        )
        indexes = (
            models.Index(
                fields=("authority", "-not_after"), name="responder_of_authority"
            ),
        )

    def __str__(self) -> str:
        return self.serial_number
