"""What the bridge knows of the devices that send messages."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import Error, close_old_connections

from core.group_commit import GroupCommit, QueueFull
from devices.registry.models import Device
from tenants.context import every_tenant_scope

SECONDS = 30.0  # until a device is looked up again
MAX_DEVICES = 200_000  # that are remembered
MAX_BATCH = 500
MAX_WAITING = 5_000


class Unavailable(Exception):
    """The database does not answer."""


@dataclass(frozen=True, slots=True)
class KnownDevice:
    """A device whose tenant accepts MQTT.

    Attributes:
        token_digest: of its token; "" without one. The fast path finds devices by it.
        address: the last known one, because the broker does not tell the present one.
    """

    id: UUID
    tenant_id: UUID
    token_digest: str
    address: str | None


class KnownDevices:
    """Devices by id, looked up together and remembered for a while."""

    def __init__(self) -> None:
        self._remembered: dict[UUID, tuple[float, KnownDevice | None]] = {}
        self._lookups: GroupCommit[UUID, list[KnownDevice]] = GroupCommit(
            self._look_up, most=MAX_BATCH, most_waiting=MAX_WAITING
        )

    async def get(self, device_id: UUID) -> KnownDevice | None:
        """Return a device. None if it is unknown or retired, or its tenant uses no MQTT.

        Raises:
            Unavailable: the database does not answer.
        """
        until, device = self._remembered.get(device_id, (0.0, None))
        if time.monotonic() < until:
            return device
        try:
            found = await self._lookups.ask(device_id)
        except QueueFull as error:
            raise Unavailable from error
        if found is None:
            raise Unavailable
        device = found[0] if found else None
        if len(self._remembered) >= MAX_DEVICES:
            self._remembered.clear()
        self._remembered[device_id] = (time.monotonic() + SECONDS, device)
        return device

    async def _look_up(self, ids: Sequence[UUID]) -> Mapping[int, list[KnownDevice]]:
        found = await asyncio.to_thread(_read, ids)
        return {place: found.get(device_id, []) for place, device_id in enumerate(ids)}


def _read(ids: Sequence[UUID]) -> dict[UUID, list[KnownDevice]]:
    close_old_connections()
    try:
        with every_tenant_scope():
            devices = Device.every_tenant.not_retired().filter(
                pk__in=ids, tenant__accepts_mqtt=True
            )
            columns = ("pk", "tenant_id", "token__digest", "ip_address")
            return {
                pk: [KnownDevice(pk, tenant_id, digest or "", address)]
                for pk, tenant_id, digest, address in devices.values_list(*columns)
            }
    except Error as error:
        raise Unavailable from error
    finally:
        close_old_connections()
