"""How urgent something is."""

from django.db import models


class Severity(models.TextChoices):
    """From the least to the most urgent."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    def exceeds(self, other: str) -> bool:
        order = list(Severity)
        return order.index(self) > order.index(Severity(other))
