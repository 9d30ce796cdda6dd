"""Push notifications to devices about new commands and updates.

A device keeps one connection open, as server-sent events or by repeated long polls. A
notification is only a hint. The device fetches commands and updates by other requests.
"""

import asyncio
import json
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError, close_old_connections
from prometheus_client import Gauge
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from core import clock
from core.push.admission import Admission, error, plain, stream_headers
from core.push.listeners import EventStream, Listener, Listeners, wait_for_change
from devices.registry.clones import SHORT_CONNECTION
from devices.registry.models import Device
from devices.registry.services import clone_detection
from devices.remote_control.api.device_views import STREAM_HEADER
from devices.remote_control.services import queues
from tenants.context import every_tenant_scope

MAX_LISTENERS = 20_000  # of one process
MAX_OF_ADDRESS = 10_000  # of one address in one process; a provider's NAT may have thousands
MAX_SECONDS = 3600.0  # of one stream; then the device authenticates again
RETRY_SECONDS = (1.0, 15.0)  # random, so that devices do not all reconnect at once
POLL_SECONDS = 25.0  # until a long poll ends without a notification
REMEMBERED_SECONDS = 30.0  # how long messages are kept for devices that connect later
ENDING_EVENTS = {"device.quarantined", "device.retired"}
CATCH_UP_BATCH = 1000  # devices in one query

LISTENING = Gauge(
    "push_channel_devices", "Devices connected to the push channel", multiprocess_mode="livesum"
)


class DeviceListener(Listener):
    """A connected device.

    Args:
        sequence: the number of the device's last command.
        seen: the number of the last command that the device has seen. If `seen` is larger
            than `sequence`, the device is notified at once. When the device fetches its
            commands, the next sequence numbers are above `seen`.
    """

    def __init__(self, sequence: int, *, seen: int, address: str = "") -> None:
        super().__init__(owner=address)
        self.sequence, self.seen = sequence, seen
        self.has_update = False
        self.opened = time.monotonic()
        self._is_ahead = seen > sequence

    def notify(self, sequence: int) -> None:
        if sequence > self.sequence:
            self.sequence = sequence
            self.changed.set()

    def notify_of_update(self) -> None:
        self.has_update = True
        self.changed.set()

    def events(self) -> Iterator[dict[str, str]]:
        if self.sequence > self.seen or self._is_ahead:
            self._is_ahead, self.seen = False, self.sequence
            data = json.dumps({"sequence": self.seen})
            yield {"id": str(self.seen), "data": data}
        if self.has_update:
            self.has_update = False
            yield {"event": "update", "data": "{}"}


class DevicePush:
    """The devices connected to this process."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.listeners: Listeners[DeviceListener] = Listeners(
            most=MAX_LISTENERS, most_of_owner=MAX_OF_ADDRESS
        )
        # The sequence number of a new connection was read from the database earlier. A
        # message may have arrived meanwhile, so recent messages are kept, in two parts.
        self._recent: dict[str, int] = {}
        self._older: dict[str, int] = {}
        self._turned = time.monotonic()

    async def endpoint(self, request: Request) -> Any:
        """Answer with server-sent events if the device accepts them, else with a long poll."""
        if self.listeners.is_full:
            return _too_many()
        try:
            status, headers, content = await self._admission.answer(request)
        except ValueError:
            return error(400, "bad_request", "The headers cannot be read.")
        place = dict(headers).get(STREAM_HEADER)
        headers = [pair for pair in headers if pair[0] != STREAM_HEADER]
        if place is None:
            return plain(status, headers, content)
        device_id, sequence, seen, address = place.split(" ")
        if self.listeners.is_full_for(address):
            return _too_many()
        if self.was_opened_recently(device_id):
            with suppress(DatabaseError, InterfaceError):
                await asyncio.to_thread(_report_replaced_connection, device_id)
        listener = self.join(device_id, int(sequence), seen=int(seen), address=address)
        if "text/event-stream" not in request.headers.get("accept", ""):
            return await self._poll(device_id, listener, request, headers)
        return EventStream(
            listener,
            headers=stream_headers(headers),
            retry_seconds=random.uniform(*RETRY_SECONDS),
            max_seconds=MAX_SECONDS,
            on_end=lambda: self.leave(device_id, listener),
        )

    def was_opened_recently(self, device_id: str) -> bool:
        """Return True if the device has a connection that was opened a short time ago."""
        since = time.monotonic() - SHORT_CONNECTION.total_seconds()
        return any(listener.opened > since for listener in self.listeners.of(device_id))

    def join(
        self, device_id: str, sequence: int, *, seen: int = 0, address: str = ""
    ) -> DeviceListener:
        """Register a connection of a device and end its earlier connection.

        Args:
            sequence: the sequence number of the device's last command, read from the database.
            address: the device's address or network, whose connections are limited.
        """
        recent = (numbers.get(device_id, 0) for numbers in (self._recent, self._older))
        listener = DeviceListener(max(sequence, *recent), seen=seen, address=address)
        for earlier in self.listeners.of(device_id):
            earlier.end()
        self.listeners.add(device_id, listener)
        LISTENING.inc()
        return listener

    def leave(self, device_id: str, listener: DeviceListener) -> None:
        self.listeners.remove(device_id, listener)
        LISTENING.dec()

    def on_message(self, data: bytes) -> None:
        """Process a message that `push_notifications` has published."""
        message = json.loads(data)
        commands, updates = message["commands"], message["updates"]
        self.notify({str(name): int(number) for name, number in commands.items()})
        self.notify_of_updates(map(str, updates))

    def notify(self, sequences: Mapping[str, int]) -> None:
        """Notify each device of the sequence number of its last command."""
        self._forget_old()
        for device_id, sequence in sequences.items():
            self._recent[device_id] = max(sequence, self._recent.get(device_id, 0))
            for listener in self.listeners.of(device_id):
                listener.notify(sequence)

    def notify_of_updates(self, device_ids: Iterable[str]) -> None:
        for device_id in device_ids:
            for listener in self.listeners.of(device_id):
                listener.notify_of_update()

    def on_page_update(self, data: bytes) -> None:
        """End the streams of devices that were put in quarantine or retired."""
        message = json.loads(data)
        if ENDING_EVENTS.isdisjoint(message["names"]):
            return
        device_ids = message["devices"]
        self._ending = asyncio.ensure_future(
            self.end_refused(self.listeners.keys() if device_ids is None else device_ids)
        )

    async def recheck(self) -> None:
        """End the streams of devices that may not have one any more."""
        await self.end_refused(self.listeners.keys())

    async def end_refused(self, device_ids: Sequence[str]) -> None:
        for start in range(0, len(device_ids), CATCH_UP_BATCH):
            batch = device_ids[start : start + CATCH_UP_BATCH]
            with suppress(DatabaseError, InterfaceError):
                for device_id in await asyncio.to_thread(_refused, batch):
                    for listener in self.listeners.of(device_id):
                        listener.end()

    async def catch_up(self) -> None:
        """Notify connected devices of waiting commands, in case they missed a message."""
        device_ids = self.listeners.keys()
        for start in range(0, len(device_ids), CATCH_UP_BATCH):
            batch = device_ids[start : start + CATCH_UP_BATCH]
            with suppress(DatabaseError, InterfaceError):
                self.notify(await asyncio.to_thread(_last_commands, batch))

    async def _poll(
        self,
        device_id: str,
        listener: DeviceListener,
        request: Request,
        headers: list[tuple[str, str]],
    ) -> Response:
        try:
            if listener.sequence == listener.seen:
                await wait_for_change(listener, request, seconds=POLL_SECONDS)
        finally:
            self.leave(device_id, listener)
        answer = {"sequence": listener.sequence, "update_waiting": listener.has_update}
        return JSONResponse(answer, headers=stream_headers(headers))

    def _forget_old(self) -> None:
        if time.monotonic() - self._turned > REMEMBERED_SECONDS:
            self._older, self._recent = self._recent, {}
            self._turned = time.monotonic()


def _refused(device_ids: Sequence[str]) -> set[str]:
    """Return the ids of devices in quarantine or a suspended tenant, and of those that are gone."""
    close_old_connections()
    with every_tenant_scope():
        devices = Device.every_tenant.not_retired().filter(
            quarantined_at=None, tenant__suspended_at=None
        )
        allowed = devices.filter(pk__in=device_ids).values_list("pk", flat=True)
        return set(device_ids) - {str(pk) for pk in allowed}


def _report_replaced_connection(device_id: str) -> None:
    close_old_connections()
    clone_detection.report_replaced_connection(UUID(device_id), now=clock.now())


def _too_many() -> Response:
    return error(503, "unavailable", "Too many devices are connecting.")


def _last_commands(device_ids: Sequence[str]) -> dict[str, int]:
    close_old_connections()
    with every_tenant_scope():
        sequences = queues.waiting([UUID(name) for name in device_ids])
    return {str(device_id): sequence for device_id, sequence in sequences.items()}
