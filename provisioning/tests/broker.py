"""Run Debian's Mosquitto with the deployed configuration, the bridge, and devices."""

import os
import queue
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.test import Client as WebClient

from devices.registry.tests.waiting import wait_until
from provisioning.tests.processes import subprocess_environment
from provisioning.var import BASE

PROGRAM = "/usr/sbin/mosquitto"
PASSWORD = "a password of the bridge"
SUBSCRIBED = "Received SUBSCRIBE from provisioning-bridge"


@dataclass(slots=True)
class Broker:
    """A broker. It keeps its data when it is stopped and started again."""

    folder: Path
    port: int = 0  # of devices
    bridge_port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://bridge:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{self.bridge_port}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def prepare(self) -> None:
        """Write the configuration, and trust the CAs and revocation lists of the database."""
        self.port, self.bridge_port = _free_port(), _free_port()
        for name in ("data", "trust"):
            (self.folder / name).mkdir(parents=True)
        self.refresh_trust()
        server = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        server += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        server += ["-keyout", "server.key", "-out", "server.pem"]
        subprocess.run(server, cwd=self.folder, check=True, capture_output=True)
        secret = ["mosquitto_passwd", "-c", "-b", "bridge.passwd", "bridge", PASSWORD]
        subprocess.run(secret, cwd=self.folder, check=True, capture_output=True)
        source = BASE / "deploy" / "mosquitto"
        for name in ("devices.acl", "bridge.acl"):
            shutil.copy(source / name, self.folder)
        text = (source / "mosquitto.conf").read_text()
        text = text.replace("/etc/mosquitto", str(self.folder))
        text = text.replace("/var/lib/mosquitto", str(self.folder / "data"))
        text = text.replace("listener 8883", f"listener {self.port}")
        text = text.replace("listener 1883", f"listener {self.bridge_port}")
        (self.folder / "mosquitto.conf").write_text(f"{text}user root\n")

    def refresh_trust(self) -> None:
        """Write the trusted CAs and revocation lists as `trust.sh` does."""
        for name in ("trusted.pem", "trusted.crl.pem"):
            content = WebClient().get(f"/certificates/{name}").content
            (self.folder / "trust" / name).write_bytes(content)
        if self.process is not None:
            self.process.send_signal(signal.SIGHUP)

    def start(self) -> None:
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "-c", "mosquitto.conf", "-v"], cwd=self.folder, stdout=log, stderr=log
            )
        wait_until(lambda: _is_open(self.port) and _is_open(self.bridge_port))

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None


@contextmanager
def running_bridge(broker: Broker) -> Iterator[subprocess.Popen[bytes]]:
    """Run the bridge in a process of its own, on the database of the test. Return the process."""
    environment = {**os.environ, **subprocess_environment(), "MQTT_URL": broker.url}
    with open(broker.folder / "bridge.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, str(BASE / "manage.py"), "serve", "mqtt"],
            cwd=BASE,
            env=environment,
            stdout=log,
            stderr=log,
        )
    subscribed = broker.log.count(SUBSCRIBED)
    try:
        wait_until(lambda: broker.log.count(SUBSCRIBED) > subscribed, timeout=90)
        yield process
    finally:
        process.terminate()
        process.wait()


@dataclass(slots=True)
class ConnectedDevice:
    """A device with a connection to the broker, and what it has received."""

    client: Any
    name: str
    received: "queue.Queue[tuple[str, bytes]]" = field(default_factory=queue.Queue)

    def send(self, kind: str, content: bytes, *, name: str | None = None, **more: Any) -> None:
        """Publish a message and wait until the broker has acknowledged it."""
        sent = self.client.publish(f"devices/{name or self.name}/up/{kind}", content, qos=1, **more)
        sent.wait_for_publish(20)
        assert sent.is_published()

    def expect(self, kind: str, timeout: float = 20.0) -> bytes:
        """Return the next message of a kind. Others are dropped."""
        deadline = time.monotonic() + timeout
        while True:
            topic, content = self.received.get(timeout=max(0.01, deadline - time.monotonic()))
            if topic == f"devices/{self.name}/down/{kind}":
                return content


@contextmanager
def connected(
    broker: Broker,
    device_id: Any,
    certificate: str,
    key: Any,
    *,
    will: bool = False,
    client_id: str = "",
) -> Iterator[ConnectedDevice]:
    """Connect a device with its certificate.

    Args:
        will: whether the broker has to publish a last will.
        client_id: by default the name of the device.

    Raises:
        ConnectionRefusedError, ssl.SSLError: the broker refuses the connection.
    """
    from paho.mqtt import client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    name = f"Device-{device_id}"
    client: Any = paho.Client(
        CallbackAPIVersion.VERSION2, client_id=client_id or name, protocol=paho.MQTTv5
    )
    device = ConnectedDevice(client, name)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    file = broker.folder / f"{name}.pem"
    file.write_text(certificate + pem)
    context = ssl.create_default_context(cafile=str(broker.folder / "server.pem"))
    context.load_cert_chain(str(file))
    client.tls_set_context(context)
    if will:
        client.will_set(f"devices/{name}/up/gone", b"", qos=1)
    client.on_message = lambda _, __, message: device.received.put((message.topic, message.payload))
    subscribed: queue.Queue[int] = queue.Queue()
    client.on_connect = lambda *_: client.subscribe(f"devices/{name}/down/#", qos=1)
    client.on_subscribe = lambda *_: subscribed.put(1)
    client.connect("localhost", broker.port)
    client.loop_start()
    try:
        try:
            subscribed.get(timeout=10)
        except queue.Empty:
            raise ConnectionRefusedError from None
        yield device
    finally:
        client.disconnect()
        client.loop_stop()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
