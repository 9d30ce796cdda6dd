"""What went wrong in a rollout, by kind."""

from typing import Any

from django.db.models import Count, Max

from devices.updates.models import Deployment, Status, UpdateStatus

MOST_KINDS = 50


def of_rollout(row: Deployment) -> list[dict[str, Any]]:
    """How many devices failed with which error, the most frequent first."""
    failed = UpdateStatus.objects.filter(deployment=row, status=Status.FAILED)
    kinds = (
        failed.order_by()
        .values("error_code")
        .annotate(devices=Count("pk"), example=Max("error"))
    )
    return list(kinds.order_by("-devices", "error_code")[:MOST_KINDS])
