"""Revocation lists as they were last built."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from certificates.models.authority import CertificateAuthority
from tenants.models import Role


class RevocationList(models.Model):
    """One list of one authority: the complete one, or the shard of a distribution point.

    The id is the shard's number in its address. The address is what the certificates of
    the shard say, so it never changes: another `PUBLIC_URL` opens other shards. `number`
    is the CRL number of the build that is served; it only rises.
    """

    id = models.BigAutoField(primary_key=True)
    authority = models.ForeignKey(
        CertificateAuthority, on_delete=models.PROTECT, related_name="lists"
    )
    slot = models.PositiveIntegerField(null=True)  # null: the complete list
    host = models.CharField(max_length=255, blank=True)  # what the address begins with
    number = models.PositiveBigIntegerField(default=0)
    der = models.BinaryField(default=b"")
    entries = models.PositiveIntegerField(default=0)
    digest = models.CharField(max_length=64, blank=True)  # SHA-256 of `der`, hex
    this_update = models.DateTimeField(null=True)
    next_update = models.DateTimeField(null=True)

    seen_by: ClassVar[Role | None] = None
    managed_by: ClassVar[Role | None] = None

    class Meta:
        ordering = ("authority", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("authority",),
                condition=Q(slot__isnull=True),
                name="revocation_list_one_complete",
            ),
            models.UniqueConstraint(
                fields=("authority", "host", "slot"), name="revocation_list_slot_once"
            ),
        )
        indexes = (
            models.Index(fields=("this_update",), name="revocation_list_oldest_build"),
        )

    def __str__(self) -> str:
        return f"list {self.pk}" if self.slot is not None else "complete list"

    @property
    def address(self) -> str | None:
        """The distribution point, as certificates and list say it; the complete has none."""
        if self.slot is None:
            return None
        return f"{self.host}/certificates/crl/{self.pk}.crl"
