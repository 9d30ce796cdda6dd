"""Samples over MQTT, from the broker into the database, compared with a bare MQTT client.

Mosquitto, the bridge, PostgreSQL and the publisher share the machine. The bare client receives the
same messages and acknowledges them without storing anything.
"""

import asyncio
import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from gmqtt import Client

from benchmarks.fleet import create_devices
from benchmarks.metrics import sample
from benchmarks.size import size
from certificates.models import DeviceCertificate
from devices.metrics.models import DeviceMetrics
from devices.registry.models import Device
from provisioning.mqtt.topics import UP
from provisioning.processes import Program, start, stop
from provisioning.var import BASE
from tenants.models import Tenant

PROGRAM = "/usr/sbin/mosquitto"
TENANTS, DEVICES = 100, size(20_000, quick=2_000)
MESSAGES = size(60_000, quick=4_000)
PORT = 8991
MAX_PACKET_ID = 65_535
CONFIGURATION = f"""
listener {PORT} 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 0
max_inflight_messages 0
"""


def main() -> None:
    if not Path(PROGRAM).exists():
        sys.exit("Install mosquitto (Debian) for this benchmark.")
    create_devices(DEVICES, tenants=TENANTS)
    Tenant.objects.update(accepts_mqtt=True)
    ids = list(Device.every_tenant.values_list("pk", flat=True))
    _create_certificates(ids)
    packets = _packets(ids)
    with _broker():
        bare = MESSAGES / asyncio.run(_receive_bare(packets))
    with _broker(), _bridge():
        _publish(packets[:100])  # the first messages of a process take longer
        _wait_for(lambda: _stored() == 100)
        began = time.perf_counter()
        _publish(packets)
        _wait_for(lambda: _stored() == MESSAGES)
        rate = (MESSAGES - 100) / (time.perf_counter() - began)
    print(
        f"mqtt: single samples, stored: {rate:,.0f}/s; a bare client receives {bare:,.0f}/s;"
        f" ratio {rate / bare:.2f} (target at least 5,000/s)"
    )


def _create_certificates(ids: Sequence[UUID]) -> None:
    """Create the records of certificates in use. The broker of the benchmark asks for none."""
    now = datetime.now(UTC)
    DeviceCertificate.objects.bulk_create(
        DeviceCertificate(
            device_id=device_id,
            serial_number=f"{number + 1:040x}",
            authority_key_id="-",
            status="active",
            key_source="device",
            public_key_digest=f"{number:064x}",
            fingerprint=f"{number:064x}",
            pem="-",
            not_before=now,
            not_after=now + timedelta(days=365),
            reserved_at=now,
            issued_at=now,
        )
        for number, device_id in enumerate(ids)
    )


def _packets(ids: Sequence[UUID]) -> list[bytes]:
    """Return PUBLISH packets with QoS 1 (MQTT 3.1.1, section 3.3). All samples are new."""
    recorded = datetime.now(UTC) - timedelta(minutes=50)
    packets = []
    for number in range(MESSAGES):
        turn, place = divmod(number, len(ids))
        at = recorded + turn * timedelta(minutes=1)
        topic = f"devices/Device-{ids[place]}/up/metrics".encode()
        payload = json.dumps(sample(at, random.Random(0))).encode()
        packet_id = number % MAX_PACKET_ID + 1
        rest = len(topic).to_bytes(2) + topic + packet_id.to_bytes(2) + payload
        packets.append(b"\x32" + _length(len(rest)) + rest)
    return packets


def _length(number: int) -> bytes:
    """Return a length as MQTT writes it (section 2.2.3)."""
    encoded = b""
    while True:
        number, low = divmod(number, 128)
        encoded += bytes([low | (128 if number else 0)])
        if not number:
            return encoded


def _publish(packets: Sequence[bytes]) -> None:
    """Send all packets, and read the acknowledgement of each."""
    name = b"publisher"
    rest = b"\x00\x04MQTT\x04\x02\x00\x00" + len(name).to_bytes(2) + name
    with socket.create_connection(("127.0.0.1", PORT)) as connection:
        connection.sendall(b"\x10" + _length(len(rest)) + rest)
        connection.recv(4)
        for first in range(0, len(packets), 1000):
            batch = packets[first : first + 1000]
            connection.sendall(b"".join(batch))
            left = 4 * len(batch)
            while left:
                left -= len(connection.recv(left))


async def _receive_bare(packets: Sequence[bytes]) -> float:
    """Return the seconds that a bare client needs for all packets."""
    received = 0
    everything = asyncio.Event()

    async def on_message(*_: object) -> int:
        nonlocal received
        received += 1
        if received == len(packets):
            everything.set()
        return 0

    client = Client("bare", optimistic_acknowledgement=False, receive_maximum=1000)
    client.on_message = on_message
    await client.connect("127.0.0.1", PORT)
    client.subscribe(UP, qos=1)
    await asyncio.sleep(1)
    began = time.perf_counter()
    await asyncio.to_thread(_publish, packets)
    await everything.wait()
    seconds = time.perf_counter() - began
    await client.disconnect()
    return seconds


@contextmanager
def _broker() -> Iterator[None]:
    with TemporaryDirectory() as folder:
        file = Path(folder, "mosquitto.conf")
        file.write_text(CONFIGURATION)
        process = subprocess.Popen([PROGRAM, "-c", str(file)], stderr=subprocess.DEVNULL)
        try:
            _wait_for(_is_open)
            yield
        finally:
            process.terminate()
            process.wait()


@contextmanager
def _bridge() -> Iterator[None]:
    command = (sys.executable, str(BASE / "manage.py"), "serve", "mqtt")
    program = Program(
        name="mqtt", command=command, environment={"MQTT_URL": f"mqtt://127.0.0.1:{PORT}"}
    )
    process = start(program, quiet=True)
    try:
        time.sleep(size(8.0, quick=6.0))  # until it has subscribed
        yield
    finally:
        stop([(program, process)])


def _is_open() -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", PORT)) == 0


def _stored() -> int:
    return int(DeviceMetrics.every_tenant.count())


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("The messages do not arrive.")
        time.sleep(0.2)
