"""Boxes that report, for the tests."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from devices.metrics.services import ingest
from devices.metrics.services.ingest import Outcome
from devices.registry.models import Device
from tenants.context import tenant_scope


def at(moment: datetime, **said: Any) -> dict[str, Any]:
    """A sample of a moment; a processor that idles if nothing else is said."""
    return {"recorded_at": moment.isoformat(), **(said or {"cpu_usage": 1})}


def every_five_minutes(
    start: datetime, values: Sequence[float], name: str = "cpu_usage"
) -> list[dict[str, Any]]:
    """One sample for each value of one field."""
    return [
        at(start + number * timedelta(minutes=5), **{name: value})
        for number, value in enumerate(values)
    ]


def report(device: Device, *samples: dict[str, Any], now: datetime) -> Outcome:
    """The device sends them now."""
    with tenant_scope(device.tenant_id):
        return ingest.ingest(device=device, samples=list(samples), now=now)
