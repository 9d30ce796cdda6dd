"""Test helpers that report samples of devices."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from devices.metrics.services import ingest
from devices.metrics.services.ingest import Outcome
from devices.registry.models import Device
from tenants.context import tenant_scope


def at(moment: datetime, **values: Any) -> dict[str, Any]:
    """Return a sample recorded at a time. By default, the sample has 1 % CPU usage."""
    return {"recorded_at": moment.isoformat(), **(values or {"cpu_usage": 1})}


def every_five_minutes(
    start: datetime, values: Sequence[float], name: str = "cpu_usage"
) -> list[dict[str, Any]]:
    """Return one sample for each value of one field."""
    return [
        at(start + number * timedelta(minutes=5), **{name: value})
        for number, value in enumerate(values)
    ]


def report(device: Device, *samples: dict[str, Any], now: datetime) -> Outcome:
    """Store samples of a device as if the server received them at `now`."""
    with tenant_scope(device.tenant_id):
        return ingest.ingest(device=device, samples=list(samples), now=now)
