"""Another tenant's `POST /devices/connect` beside attacks, compared with the same without them."""

import base64
import gzip
import os
import secrets
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import OCSPNonce, ocsp

from accounts.services.tokens import issue_api_token
from benchmarks import client
from benchmarks.fleet import create_devices
from benchmarks.size import size
from benchmarks.stage import web
from certificates.services.device_certificates import DeviceCertificatesService
from core import clock
from devices.registry.models import Device
from devices.registry.services.credentials import renew_device_token
from devices.registry.tests.factories import DeviceFactory
from events.models import Channel
from tenants.context import tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory

PORT = 8979
SECONDS = size(4.0, quick=0.5)
ROUNDS = size(3, quick=1)  # of each attack
ATTACKERS = 16  # connections
ATTACK_INTERVAL = 0.016  # seconds between two requests of a connection: 1,000/s in total
VICTIMS = 4  # connections
DEVICES = size(20_000, quick=2_000)  # of the victims; a device connects about once a minute


def main() -> None:
    body = b'{"app_version": "2.1.0", "os_version": "9"}'
    victims = [client.post("/devices/connect", body, token) for token in create_devices(DEVICES)]
    attacks = _attacks(*_attacker())
    with web("provisioning.rsgi:app", PORT):
        client.run(PORT, victims, connections=VICTIMS, seconds=2)  # warm-up
        quiet = client.run(PORT, victims, connections=VICTIMS, seconds=SECONDS).percentile(0.99)
        print(f"security: alone, p99 {quiet:.1f} ms")
        wanted = os.environ.get("BENCH_ATTACKS")  # a part of the names; all by default
        for name, requests in attacks.items():
            if wanted and wanted not in name:
                continue
            # The load generator takes CPU time from the servers, whatever it requests. The speed
            # of the machine changes within seconds, so both are measured in turn.
            rounds = [
                (_beside([client.get("/health/live", "")], victims), _beside(requests, victims))
                for _ in range(ROUNDS)
            ]
            control = statistics.median(quiet for (quiet, _), _ in rounds)
            p99 = statistics.median(attacked for _, (attacked, _) in rounds)
            failed = sum(count for _, (_, count) in rounds)
            print(
                f"security: beside {name}, p99 {p99:.1f} ms, {failed} failed; beside requests that"
                f" need no thread {control:.1f} ms; ratio {p99 / control:.1f} (target at most 2)"
            )


def _beside(attack: list[bytes], victims: list[bytes]) -> tuple[float, int]:
    """Return the victims' p99 in milliseconds beside an attack, and their failed requests."""
    with _attacking(attack):
        result = client.run(PORT, victims, connections=VICTIMS, seconds=SECONDS)
    return result.percentile(0.99), result.failed


def _attacks(token: str, member: str, channel: UUID) -> dict[str, list[bytes]]:
    """Return the requests of each attack. Each attacker repeats them on one connection.

    Args:
        token: of a device.
        member: API token of an owner of the same tenant.
        channel: a channel of this tenant.
    """
    samples = b"[" + b",".join([b'{"cpu_usage": 1}'] * 1000) + b"]"
    values = gzip.compress(b"[" + b"1," * 3_000_000 + b"1]", 9)
    text = gzip.compress(b'{"cpu_usage": 1, "x": "' + b"a" * 7_000_000 + b'"}', 9)
    encoding = "Content-Encoding: gzip\r\n"
    return {
        "hostile metrics": [
            _post_raw("/devices/metrics", body, token, encoding) for body in (values, text)
        ],
        "requests for /schema": [client.get("/schema", "")],
        "paths that do not exist": [client.get(f"/guess/{number}", "") for number in range(100)],
        "invalid tokens": [
            client.post("/devices/connect", b"{}", f"dev_{secrets.token_urlsafe(32)[:43]}")
            for _ in range(100)
        ],
        "OCSP requests with nonces": [client.get(path, "") for path in _ocsp_paths()],
        "one device's connects": [client.post("/devices/connect", b"{}", token)],
        "large batches of one device": [
            _post_raw("/devices/metrics", gzip.compress(samples), token, encoding)
        ],
        "pages without a sign-in": [client.get("/admin/login/", "")],
        "a member's searches": [
            client.get(f"/devices?search={secrets.token_hex(3)}", member) for _ in range(50)
        ],
        "a member's broad lists": [client.get("/devices?page_size=500", member)],
        "tests of a channel": [client.post(f"/channels/{channel}/test", b"", member)],
    }


@contextmanager
def _attacking(requests: list[bytes]) -> Iterator[None]:
    repeated = requests * ATTACKERS
    thread = threading.Thread(
        target=client.run,
        args=(PORT, repeated),
        kwargs={
            "connections": ATTACKERS,
            "seconds": SECONDS + 2,
            "interval": ATTACK_INTERVAL,
            "niceness": 10,  # an attacker has a processor of its own
        },
    )
    thread.start()
    time.sleep(1)
    yield
    thread.join()


def _post_raw(path: str, body: bytes, token: str, headers: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{headers}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _attacker() -> tuple[str, str, UUID]:
    now = clock.now()
    tenant = Tenant.objects.create(slug="attacker", name="Attacker")
    device: Device = DeviceFactory.create_batch(2000, tenant=tenant)[0]
    membership = MembershipFactory.create(tenant=tenant, role=Role.OWNER)
    with tenant_scope(tenant.pk):
        _, member = issue_api_token(membership=membership, name="attack", now=now)
        channel = Channel.objects.create(
            name="attack", kind=Channel.Kind.WEBHOOK, url="https://192.0.2.1/", created_at=now
        )
        return renew_device_token(device, now=now), member, channel.pk


def _ocsp_paths() -> Iterator[str]:
    ca = DeviceCertificatesService()
    ca.initialize_ca(now=clock.now())
    certificate = ca.issuer().certificate
    for _ in range(200):
        builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, certificate, SHA1())
        builder = builder.add_extension(OCSPNonce(secrets.token_bytes(16)), critical=False)
        der = builder.build().public_bytes(Encoding.DER)
        yield f"/certificates/ocsp/{base64.urlsafe_b64encode(der).decode()}"
