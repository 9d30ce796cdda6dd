"""Revocation lists and their most recent builds."""

from typing import ClassVar, Self

from django.db import models
from django.db.models import Q

from certificates.models.authority import CertificateAuthority
from tenants.models import Role


class ListQuerySet(models.QuerySet["RevocationList"]):
    """Filters for revocation lists."""

    def without_content(self) -> Self:
        """Select the authority too. Load the DER content only when it is accessed."""
        return self.select_related("authority").defer("der")

    def complete(self) -> Self:
        return self.filter(slot__isnull=True)

    def shards(self) -> Self:
        return self.filter(slot__isnull=False)

    def of_authority(self, key_identifier: str) -> Self:
        return self.filter(authority__key_identifier=key_identifier)

    def trusted(self) -> Self:
        """Lists of authorities that are not retired."""
        return self.exclude(authority__status=CertificateAuthority.Status.RETIRED)


class RevocationList(models.Model):
    """The complete list of an authority, or a shard: the list of one CRL distribution point.

    The id is the shard's number in its address. The address never changes, because the
    shard's certificates contain it. A new `PUBLIC_URL` therefore creates new shards.
    `number` is the CRL number of the published build; it only increases.
    """

    id = models.BigAutoField(primary_key=True)
    authority = models.ForeignKey(
        CertificateAuthority, on_delete=models.PROTECT, related_name="lists"
    )
    slot = models.PositiveIntegerField(null=True)  # null for the complete list
    host = models.CharField(max_length=255, blank=True)  # start of the address
    number = models.PositiveBigIntegerField(default=0)
    der = models.BinaryField(default=b"")
    entries = models.PositiveIntegerField(default=0)
    digest = models.CharField(max_length=64, blank=True)  # SHA-256 of `der`, hex
    this_update = models.DateTimeField(null=True)
    next_update = models.DateTimeField(null=True)

    view_role: ClassVar[Role | None] = None
    manage_role: ClassVar[Role | None] = None

    objects = ListQuerySet.as_manager()

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
        indexes = (models.Index(fields=("this_update",), name="revocation_list_oldest_build"),)

    def __str__(self) -> str:
        return f"list {self.pk}" if self.slot is not None else "complete list"

    @property
    def address(self) -> str | None:
        """The URL of the CRL distribution point; None for a complete list."""
        if self.slot is None:
            return None
        return shard_address(self.host, self.pk)


def shard_address(host: str, number: int) -> str:
    """Return the distribution point URL of a shard.

    Certificates and the list itself must contain this URL byte for byte.
    """
    return f"{host}/certificates/crl/{number}.crl"
