"""Revoked certificates whose device was deleted with its tenant."""

from django.db import models

from certificates.models.revocation_list import RevocationList


class ForgottenRevocation(models.Model):
    """What revocation lists need of a revoked certificate after its tenant was deleted.

    It is kept until the certificate has expired and a later list has had it (RFC 5280 §3.3).
    """

    authority_key_id = models.CharField(max_length=64)  # key identifier of the CA, hex
    serial_number = models.CharField(max_length=40)  # hex
    revoked_at = models.DateTimeField()
    revocation_reason = models.CharField(max_length=24)
    not_after = models.DateTimeField()
    distribution_point = models.ForeignKey(
        RevocationList, on_delete=models.PROTECT, related_name="+", null=True
    )

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("authority_key_id", "serial_number"), name="forgotten_once_per_authority"
            ),
        )
        indexes = (models.Index(fields=("not_after",), name="forgotten_until"),)

    def __str__(self) -> str:
        return self.serial_number
