"""What the bridge knows of the devices that send messages."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import Error, close_old_connections
from django.db.models import Exists, OuterRef

from certificates.models import DeviceCertificate
from core import clock
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
    """A device whose tenant accepts MQTT, and that has a certificate in use.

    Attributes:
        token_digest: of its token; "" without one. The fast path finds devices by it.
    """

    id: UUID
    tenant_id: UUID
    token_digest: str


class KnownDevices:
    """Devices by id, looked up together and remembered for a while."""

    def __init__(self) -> None:
        self._remembered: dict[UUID, tuple[float, KnownDevice | None]] = {}
        self._lookups: GroupCommit[UUID, list[KnownDevice]] = GroupCommit(
            self._look_up, most=MAX_BATCH, most_waiting=MAX_WAITING
        )

    async def get(self, device_id: UUID) -> KnownDevice | None:
        """Return a device. None if it may not send messages any more, or never might.

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
            # The broker looks at a certificate once, when the device connects.
            accepted = DeviceCertificate.objects.accepted().filter(not_after__gt=clock.now())
            devices = Device.every_tenant.not_retired().filter(
                Exists(accepted.filter(device=OuterRef("pk"))),
                pk__in=ids,
                tenant__accepts_mqtt=True,
            )
            return {
                pk: [KnownDevice(pk, tenant_id, digest or "")]
                for pk, tenant_id, digest in devices.values_list("pk", "tenant_id", "token__digest")
            }
    except Error as error:
        raise Unavailable from error
    finally:
        close_old_connections()
