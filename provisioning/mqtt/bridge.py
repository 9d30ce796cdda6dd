"""Receive messages of devices from a broker, answer them, and wake devices.

The bridge acknowledges a message to the broker after it was stored. The broker keeps all others
for the bridge, also while it does not run. So nothing is lost that the broker has accepted, and
a message may arrive twice.
"""

import asyncio
import json
import logging
import time
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import Error
from gmqtt import Client
from prometheus_client import Counter

from core.push.subscription import Subscription
from devices.remote_control.services import push_notifications
from provisioning.mqtt import broker, topics
from provisioning.mqtt.known_devices import KnownDevices, Unavailable
from provisioning.mqtt.requests import DeviceRequests
from provisioning.mqtt.topics import Message, read_message
from provisioning.mqtt.turns import Turns

AT_MOST_ONCE, AT_LEAST_ONCE = 0, 1
NO_RETAINED = 2  # retain handling of a subscription (MQTT 5, section 3.8.3.1)
SESSION_SECONDS = 7 * 86_400  # for which the broker keeps messages while the bridge is away
IN_FLIGHT = 2_000  # messages that the broker sends without an acknowledgement
# Unfinished messages; a device that sends more loses them. More than an hour's, at 10 seconds.
MOST_OF_DEVICE = 400
# Attempts at the same time: two batches of the fast path. More would not fit into its queue, and
# repeating them would take more time than answering them.
MAX_ATTEMPTS = 1_000
KEEPALIVE = 20  # seconds
RECONNECT_SECONDS = 2
LOST_SECONDS = 60.0  # without a connection, after which the process ends and is started again
MAX_PAUSE = 30.0  # seconds between two attempts to answer a message
FAULTY_AFTER = 5  # attempts that ended with 500 while other messages were answered
AWAKE_SECONDS = 3600.0  # since a device's last message, in which it is woken
MAX_AWAKE = 500_000  # devices
REPEATED = {429, 500, 502, 503, 504}

MESSAGES = Counter("mqtt_messages_total", "Messages of devices over MQTT", ["kind", "code"])
logger = logging.getLogger(__name__)


class ConnectionLost(Exception):
    """There is no connection to the broker any more, and the client does not get one."""


class Bridge:
    """The connection to the broker. It is used by one event loop."""

    def __init__(self) -> None:
        self._devices, self._requests = KnownDevices(), DeviceRequests()
        self._turns: Turns[UUID] = Turns(most=MOST_OF_DEVICE)
        self._attempts = asyncio.Semaphore(MAX_ATTEMPTS)
        self._awake: dict[str, float] = {}  # when the device has sent its last message
        self._answered = 0  # messages, apart from those that ended with 500
        self._handlers: set[asyncio.Task[Any]] = set()
        self._client = Client(
            settings.MQTT_CLIENT_ID,
            clean_session=False,
            optimistic_acknowledgement=False,  # acknowledge when `_on_message` has returned
            session_expiry_interval=SESSION_SECONDS,
            receive_maximum=IN_FLIGHT,
        )
        self._client.set_config({"reconnect_retries": -1, "reconnect_delay": RECONNECT_SECONDS})
        if (credentials := broker.credentials()) is not None:
            self._client.set_auth_credentials(*credentials)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.on_disconnect = self._on_disconnect

    async def run(self, stop: asyncio.Event) -> None:
        """Answer messages until `stop` is set.

        Raises:
            ConnectionLost: there was no connection for a minute.
        """
        subscription = Subscription(
            {push_notifications.topic(): self._on_notification}, catch_up=[]
        )
        tasks = [asyncio.create_task(subscription.run()), asyncio.create_task(self._connect())]
        connected = time.monotonic()
        try:
            while not stop.is_set():
                if self._client.is_connected:
                    connected = time.monotonic()
                elif time.monotonic() - connected > LOST_SECONDS:
                    raise ConnectionLost
                try:
                    await asyncio.wait_for(stop.wait(), RECONNECT_SECONDS)
                except TimeoutError:
                    continue
        finally:
            for task in tasks:
                task.cancel()
            if self._client.is_connected:
                await self._client.disconnect()

    async def _connect(self) -> None:
        """Connect for the first time. Later the client reconnects by itself."""
        host, port, tls = broker.address()
        while True:
            try:
                await self._client.connect(host, port, ssl=tls, keepalive=KEEPALIVE)
                return
            except Exception as error:  # the broker may not run yet
                logger.warning("The MQTT broker cannot be reached: %r", error)
                await asyncio.sleep(RECONNECT_SECONDS)

    def _on_connect(self, client: Client, flags: int, code: int, properties: Any) -> None:
        logger.info("Connected to the MQTT broker.")
        self._cancel_handlers()
        client.subscribe(topics.UP, qos=AT_LEAST_ONCE, retain_handling_options=NO_RETAINED)

    def _on_disconnect(self, client: Client, packet: Any, error: Any = None) -> None:
        self._cancel_handlers()

    def _cancel_handlers(self) -> None:
        """Stop answering. The broker sends all messages again that were not acknowledged.

        An acknowledgement on the next connection might be for another message.
        """
        for handler in self._handlers:
            handler.cancel()

    async def _on_message(
        self, client: Client, topic: str, payload: bytes, qos: int, properties: Any
    ) -> int:
        """Answer a message. Return 0, which acknowledges it."""
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        try:
            await self._handle(topic, bytes(payload), qos, is_retained=properties.get("retain"))
        except Exception:  # the place of a message that nobody acknowledges is lost
            logger.exception("A message to %.100s has failed", topic)
        finally:
            self._handlers.discard(handler)
        return 0

    async def _handle(self, topic: str, payload: bytes, qos: int, *, is_retained: bool) -> None:
        message = read_message(topic, payload)
        if message is None or is_retained:
            # A retained message was sent at an unknown time, perhaps to an earlier session.
            MESSAGES.labels("unknown" if message is None else message.kind, "ignored").inc()
            return
        if qos == AT_MOST_ONCE and len(self._handlers) > IN_FLIGHT:
            MESSAGES.labels(message.kind, "dropped").inc()
            return
        if not self._turns.has_place(message.device_id):
            MESSAGES.labels(message.kind, "too_many").inc()
            self._send_answer(message, 429, broker.too_many())
            return
        async with self._turns.turn(message.device_id):
            status, content = await self._answer(message, repeats=qos > AT_MOST_ONCE)
        MESSAGES.labels(message.kind, status).inc()
        if status and (message.wants_answer or status >= 400 or _is_notable(content)):
            self._send_answer(message, status, content)

    async def _answer(self, message: Message, *, repeats: bool) -> tuple[int, bytes]:
        """Return the answer, whatever time that takes. Status 0 means that there is none."""
        pause, faults, answered = 0.5, 0, self._answered
        while True:
            try:
                status, content = await self._try_to_answer(message)
            except (Unavailable, Error):
                status, content = 503, b""
            except Exception:
                logger.exception("A message of %s has failed", message.device_id)
                status, content = 500, b""
            faults += status == 500
            # The fault is the message's, and not the server's, if others are answered.
            is_faulty = faults >= FAULTY_AFTER and self._answered > answered
            if status not in REPEATED or is_faulty or not repeats:
                self._answered += status != 500
                return status, content
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE)

    async def _try_to_answer(self, message: Message) -> tuple[int, bytes]:
        name = str(message.device_id)
        if message.kind == topics.GONE and self._awake.pop(name, None) is None:
            return 0, b""  # a device that has said nothing has nothing to end
        device = await self._devices.get(message.device_id)
        if device is None:
            return 0, b""
        if message.kind == topics.GONE:
            await self._requests.note_disconnection(device)
            return 0, b""
        async with self._attempts:
            status, content = await self._requests.answer(device, message)
        if status < 400:
            if len(self._awake) >= MAX_AWAKE:
                self._awake.clear()
            self._awake[name] = time.monotonic()
        return status, content

    def _send_answer(self, message: Message, status: int, content: bytes) -> None:
        kind = message.kind
        if status >= 400:
            kind = topics.ERRORS
            fields = {"message": message.kind, "status": status, **_object(content)}
            content = json.dumps(fields).encode()
        self._publish(message.device_id, kind, content, AT_LEAST_ONCE)

    def _on_notification(self, data: bytes) -> None:
        """Wake the devices that a push notification is for."""
        message = json.loads(data)
        for device_id, sequence in message["commands"].items():
            self._wake(device_id, {"sequence": int(sequence)})
        for device_id in map(str, message["updates"]):
            self._wake(device_id, {"update_waiting": True})

    def _wake(self, device_id: str, content: dict[str, Any]) -> None:
        if time.monotonic() - self._awake.get(device_id, -AWAKE_SECONDS) < AWAKE_SECONDS:
            self._publish(device_id, topics.WAKE, json.dumps(content).encode(), AT_MOST_ONCE)

    def _publish(self, device_id: UUID | str, kind: str, content: bytes, qos: int) -> None:
        if not self._client.is_connected:
            return  # the device asks again
        try:
            self._client.publish(topics.down(device_id, kind), content, qos=qos)
        except OverflowError:
            logger.warning("The broker does not acknowledge the messages of the bridge.")


def _is_notable(content: bytes) -> bool:
    """Return whether an answer says that something was not used."""
    answer = _object(content)
    return bool(answer.get("refused") or answer.get("ignored"))


def _object(content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content or b"{}")
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
