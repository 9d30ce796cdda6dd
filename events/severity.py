"""Severity levels of events and alerts."""

from django.db import models


class Severity(models.TextChoices):
    """Severity levels in ascending order."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    def exceeds(self, other: str) -> bool:
        order = list(Severity)
        return order.index(self) > order.index(Severity(other))
