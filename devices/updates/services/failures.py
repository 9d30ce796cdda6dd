"""Group the failures of a rollout by error code."""

from typing import Any

from django.db.models import Count, Max

from devices.updates.models import Deployment, Status, UpdateStatus

MAX_ERROR_CODES = 50


def by_error_code(rollout: Deployment) -> list[dict[str, Any]]:
    """Return each error code of a rollout with its number of failed devices.

    The most frequent error code comes first.
    """
    failed = UpdateStatus.objects.filter(deployment=rollout, status=Status.FAILED)
    codes = (
        failed.order_by().values("error_code").annotate(devices=Count("pk"), example=Max("error"))
    )
    return list(codes.order_by("-devices", "error_code")[:MAX_ERROR_CODES])
