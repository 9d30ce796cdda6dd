"""Progress and findings of the continuous audit of all certificates."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from certificates.models.certificate import DeviceCertificate
from tenants.models import Role


class Inspection(models.Model):
    """One audit pass over all active, superseded and revoked certificates."""

    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    reached = models.UUIDField(null=True)  # id of the last certificate audited
    inspected = models.PositiveBigIntegerField("certificates audited", default=0)
    drifted = models.PositiveIntegerField("certificates with findings", default=0)

    view_role: ClassVar[Role | None] = None
    manage_role: ClassVar[Role | None] = None

    class Meta:
        verbose_name = "audit pass"
        verbose_name_plural = "audit passes"
        ordering = ("-started_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("ended_at",),
                nulls_distinct=False,
                condition=Q(ended_at__isnull=True),
                name="inspection_one_at_a_time",
            ),
        )

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M}"


class Drift(models.Model):
    """An integrity finding: a certificate differs from its record, files or profile.

    The row is deleted when a later pass no longer finds the problem.
    """

    certificate = models.ForeignKey(
        DeviceCertificate, on_delete=models.CASCADE, related_name="drifts"
    )
    kind = models.CharField(max_length=40)
    sentence = models.CharField(max_length=400)
    found_at = models.DateTimeField()
    seen_at = models.DateTimeField()

    view_role: ClassVar[Role | None] = None  # members see it on the certificate's page
    manage_role: ClassVar[Role | None] = None

    class Meta:
        verbose_name = "integrity finding"
        ordering = ("-found_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("certificate", "kind", "sentence"), name="drift_said_once"
            ),
        )

    def __str__(self) -> str:
        return self.kind
