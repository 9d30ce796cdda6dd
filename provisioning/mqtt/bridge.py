"""Receive messages of devices from a broker, answer them, and wake devices.

The bridge acknowledges a message to the broker after it was stored. The broker keeps all others
for the bridge, also while it does not run. So nothing is lost that the broker has accepted, and
a message may arrive twice.
"""

import asyncio
import json
import logging
import ssl
import time
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import Error
from gmqtt import Client
from prometheus_client import Counter

from core.push.subscription import Subscription
from devices.remote_control.services import push_notifications
from provisioning.mqtt import topics
from provisioning.mqtt.known_devices import KnownDevices, Unavailable
from provisioning.mqtt.requests import DeviceRequests
from provisioning.mqtt.topics import Message, read_message

AT_LEAST_ONCE = 1
SESSION_SECONDS = 7 * 86_400  # for which the broker keeps messages while the bridge is away
IN_FLIGHT = 1_000  # messages that the broker sends without an acknowledgement
KEEPALIVE = 20  # seconds
RECONNECT_SECONDS = 2
MAX_PAUSE = 30.0  # seconds between two attempts to answer a message
MAX_FAULTS = 5  # answers with 500, after which a message is given up
AWAKE_SECONDS = 3600.0  # since a device's last message, in which it is woken
MAX_AWAKE = 500_000  # devices

MESSAGES = Counter("mqtt_messages_total", "Messages of devices over MQTT", ["kind", "code"])
logger = logging.getLogger(__name__)


class Bridge:
    """The connection to the broker. It is used by one event loop."""

    def __init__(self) -> None:
        self._devices, self._requests = KnownDevices(), DeviceRequests()
        self._awake: dict[str, float] = {}  # when the device has sent its last message
        self._client = Client(
            settings.MQTT_CLIENT_ID,
            clean_session=False,
            optimistic_acknowledgement=False,  # acknowledge when `_on_message` has returned
            session_expiry_interval=SESSION_SECONDS,
            receive_maximum=IN_FLIGHT,
        )
        self._client.set_config({"reconnect_retries": -1, "reconnect_delay": RECONNECT_SECONDS})
        if (credentials := broker_credentials()) is not None:
            self._client.set_auth_credentials(*credentials)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message

    async def run(self, stop: asyncio.Event) -> None:
        """Answer messages until `stop` is set."""
        subscription = Subscription(
            {push_notifications.topic(): self._on_notification}, catch_up=[]
        )
        waking = asyncio.create_task(subscription.run())
        try:
            await self._connect(stop)
            await stop.wait()
        finally:
            waking.cancel()
            if self._client.is_connected:
                await self._client.disconnect()

    async def _connect(self, stop: asyncio.Event) -> None:
        """Connect for the first time. Later the client reconnects by itself."""
        host, port, tls = broker_address()
        while not stop.is_set():
            try:
                await self._client.connect(host, port, ssl=tls, keepalive=KEEPALIVE)
                return
            except Exception as error:  # the broker may not run yet
                logger.warning("The MQTT broker cannot be reached: %r", error)
                await asyncio.sleep(RECONNECT_SECONDS)

    def _on_connect(self, client: Client, flags: int, code: int, properties: Any) -> None:
        logger.info("Connected to the MQTT broker.")
        client.subscribe(topics.UP, qos=AT_LEAST_ONCE)

    async def _on_message(
        self, client: Client, topic: str, payload: bytes, qos: int, properties: Any
    ) -> int:
        """Answer a message. Return 0, which acknowledges it."""
        message = read_message(topic, bytes(payload))
        if message is None or properties.get("retain"):
            # A retained message was sent at an unknown time, perhaps to an earlier session.
            MESSAGES.labels("unknown" if message is None else message.kind, "ignored").inc()
            return 0
        status, content = await self._answer(message)
        MESSAGES.labels(message.kind, status).inc()
        if status and (message.wants_answer or status >= 400 or _is_notable(content)):
            self._send_answer(message, status, content)
        return 0

    async def _answer(self, message: Message) -> tuple[int, bytes]:
        """Return the answer, whatever time that takes. Status 0 means that there is none."""
        pause, faults = 0.5, 0
        while True:
            try:
                status, content = await self._try_to_answer(message)
            except (Unavailable, Error):
                status, content = 503, b""
            except Exception:
                logger.exception("A message of %s has failed", message.device_id)
                status, content = 500, b""
            faults += status == 500
            if status not in (500, 502, 503, 504) or faults >= MAX_FAULTS:
                return status, content
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE)

    async def _try_to_answer(self, message: Message) -> tuple[int, bytes]:
        device = await self._devices.get(message.device_id)
        if device is None:
            return 0, b""
        if message.kind == topics.GONE:
            self._awake.pop(str(device.id), None)
            await self._requests.note_disconnection(device)
            return 0, b""
        if len(self._awake) >= MAX_AWAKE:
            self._awake.clear()
        self._awake[str(device.id)] = time.monotonic()
        return await self._requests.answer(device, message)

    def _send_answer(self, message: Message, status: int, content: bytes) -> None:
        kind = message.kind
        if status >= 400:
            kind = topics.ERRORS
            content = json.dumps(
                {"message": message.kind, "status": status, **_object(content)}
            ).encode()
        self._publish(message.device_id, kind, content)

    def _on_notification(self, data: bytes) -> None:
        """Wake the devices that a push notification is for."""
        message = json.loads(data)
        for device_id, sequence in message["commands"].items():
            self._wake(device_id, {"sequence": int(sequence)})
        for device_id in map(str, message["updates"]):
            self._wake(device_id, {"update_waiting": True})

    def _wake(self, device_id: str, content: dict[str, Any]) -> None:
        if time.monotonic() - self._awake.get(device_id, -AWAKE_SECONDS) < AWAKE_SECONDS:
            self._publish(device_id, topics.WAKE, json.dumps(content).encode())

    def _publish(self, device_id: UUID | str, kind: str, content: bytes) -> None:
        if self._client.is_connected:  # if it is not, the device asks again
            self._client.publish(topics.down(device_id, kind), content, qos=AT_LEAST_ONCE)


def broker_address() -> tuple[str, int, ssl.SSLContext | bool]:
    """Return host, port and TLS context of the broker.

    Raises:
        ImproperlyConfigured: `MQTT_URL` is missing or wrong.
    """
    parts = urlsplit(settings.MQTT_URL)
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise ImproperlyConfigured("MQTT_URL must be set, for example mqtts://broker:8883.")
    if parts.scheme == "mqtt":
        return parts.hostname, parts.port or 1883, False
    context = ssl.create_default_context(cafile=settings.MQTT_CA_FILE or None)
    if settings.MQTT_CERTIFICATE_FILE:
        key = settings.MQTT_KEY_FILE or None
        context.load_cert_chain(settings.MQTT_CERTIFICATE_FILE, key)
    return parts.hostname, parts.port or 8883, context


def broker_credentials() -> tuple[str, str | None] | None:
    """Return the user name and the password in `MQTT_URL`, if there are any."""
    parts = urlsplit(settings.MQTT_URL)
    if parts.username is None:
        return None
    return unquote(parts.username), None if parts.password is None else unquote(parts.password)


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
