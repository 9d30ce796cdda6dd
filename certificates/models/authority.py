"""Certificate authorities and their OCSP responders."""

from datetime import datetime, timedelta
from functools import lru_cache
from typing import ClassVar, Self

from cryptography import x509
from django.db import models
from django.db.models import Q

from tenants.models import Role


class AuthorityQuerySet(models.QuerySet["CertificateAuthority"]):
    """Filters for certificate authorities."""

    def trusted(self) -> Self:
        """CAs that are not retired.

        The certificates of these CAs are published in `trusted.pem`. Device certificates
        that these CAs signed are accepted.
        """
        return self.exclude(status=CertificateAuthority.Status.RETIRED)

    def issuing(self) -> Self:
        return self.filter(level=CertificateAuthority.Level.ISSUING)

    def signing(self) -> Self:
        """The CA that currently signs; at most one."""
        return self.filter(status=CertificateAuthority.Status.SIGNING)

    def with_key_identifier(self, key_identifier: str) -> Self:
        return self.filter(key_identifier=key_identifier)


class CertificateAuthority(models.Model):
    """A CA's certificate chain and status. The CA's private key is in a file or a token.

    In a rotation, a successor is prepared while the current CA signs. Then the successor
    signs instead. The former CA stays trusted until all devices have certificates of the
    new CA.
    """

    class Level(models.TextChoices):
        ISSUING = "issuing", "Issuing CA"
        ROOT = "root", "Root CA"

    class Status(models.TextChoices):
        NEXT = "next", "Prepared"  # already trusted, does not sign yet
        SIGNING = "signing", "Signing"
        TRUSTED = "trusted", "Trusted"  # signs CRLs and OCSP responders only
        RETIRED = "retired", "Retired"

    key_identifier = models.CharField(max_length=64, unique=True)  # hex
    level = models.CharField(max_length=7, choices=Level.choices, default=Level.ISSUING)
    status = models.CharField(max_length=7, choices=Status.choices)
    subject = models.CharField(max_length=255)
    public_key_digest = models.CharField(max_length=64, unique=True)  # SHA-256, hex
    chain = models.TextField()  # PEM, the CA's own certificate first
    not_before = models.DateTimeField()
    not_after = models.DateTimeField()
    created_at = models.DateTimeField()
    signing_since = models.DateTimeField(null=True)
    superseded_at = models.DateTimeField(null=True)
    retired_at = models.DateTimeField(null=True)

    view_role: ClassVar[Role | None] = None  # superusers only
    manage_role: ClassVar[Role | None] = None

    objects = AuthorityQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "certificate authorities"
        ordering = ("-created_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("status",), condition=Q(status="signing"), name="authority_one_signs"
            ),
            models.UniqueConstraint(
                fields=("status",), condition=Q(status="next"), name="authority_one_is_next"
            ),
        )

    def __str__(self) -> str:
        return self.subject

    def certificates(self) -> tuple[x509.Certificate, ...]:
        """Return the chain: the CA's own certificate first, the root last."""
        return _parse_chain(self.chain)

    def certificate(self) -> x509.Certificate:
        """Return the CA's own certificate."""
        return self.certificates()[0]


@lru_cache(maxsize=32)
def _parse_chain(chain: str) -> tuple[x509.Certificate, ...]:
    return tuple(x509.load_pem_x509_certificates(chain.encode()))


class ResponderQuerySet(models.QuerySet["Responder"]):
    def valid_for(self, now: datetime, span: timedelta) -> Self:
        """Responders that are still valid at `now + span`."""
        return self.filter(not_after__gt=now + span)


class Responder(models.Model):
    """A delegated OCSP responder: a short-lived certificate and its encrypted key."""

    authority = models.ForeignKey(
        CertificateAuthority, on_delete=models.CASCADE, related_name="responders"
    )
    serial_number = models.CharField(max_length=40)  # hex
    public_key_digest = models.CharField(max_length=64, unique=True)  # SHA-256, hex
    pem = models.TextField()
    encrypted_key = models.TextField()
    not_after = models.DateTimeField()
    created_at = models.DateTimeField()

    view_role: ClassVar[Role | None] = None
    manage_role: ClassVar[Role | None] = None

    objects = ResponderQuerySet.as_manager()

    class Meta:
        verbose_name = "OCSP responder"
        constraints = (
            models.UniqueConstraint(
                fields=("authority", "serial_number"), name="responder_serial_once_per_authority"
            ),
        )
        indexes = (models.Index(fields=("authority", "-not_after"), name="responder_of_authority"),)

    def __str__(self) -> str:
        return self.serial_number
