"""The push channel: how soon a command is at its device, and what a quiet connection costs."""

import asyncio
import os
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import aiohttp
import psutil
from django.db import connection
from django.utils import timezone

from accounts.services.tokens import issue_api_token
from benchmarks.load import Figures
from benchmarks.roles import running
from benchmarks.stage import web
from devices.registry.models import Device, DeviceToken
from devices.remote_control.services import policies
from tenants import tokens
from tenants.context import tenant_scope
from tenants.models import Membership, Role, Tenant, User

PORT, STREAM_PORT = 8979, 9979
STREAM = f"http://127.0.0.1:{STREAM_PORT}/devices/me/commands/stream"
WEB = f"http://127.0.0.1:{PORT}"
DEVICES = 1_000
COMMANDS = 1_000
CONTROLLERS = 4
IDLE = 10_000
TAKES = 3.0  # seconds until a device has done what it was told


def main() -> None:
    _allow_many_connections()
    os.environ["RATE_MEMBER"] = os.environ["RATE_TENANT"] = "off"
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    with tenant_scope(tenant.pk):
        held = _devices(tenant, IDLE)
        member = _member()
    connection.close()
    with (
        web("provisioning.rsgi:app", PORT),
        running("worker", PORT),
        running("stream", STREAM_PORT) as stream,
    ):
        asyncio.run(_latencies(dict(list(held.items())[:DEVICES]), member))
        _weigh(stream, held)


async def _latencies(held: dict[UUID, str], member: str) -> None:
    async with _fleet(held) as fleet:
        bare = await _bare(fleet)
        single = await _one_by_one(fleet, member)
        print(
            f"push: a command from its POST to its device, {len(held):,} devices"
            f" listening: p50 {single.percentile(0.5):.0f} ms, p95"
            f" {single.percentile(0.95):.0f} ms (target below 200), p99"
            f" {single.percentile(0.99):.0f} ms; two bare requests one after the other:"
            f" p50 {bare.percentile(0.5):.0f} ms; ratio"
            f" {single.percentile(0.5) / bare.percentile(0.5):.1f}"
        )
        seconds = await _all_at_once(fleet, member)
        print(
            f"push: one command to {len(held):,} devices, from its POST until the last"
            f" has fetched it: {seconds:.2f} s (target below 2)"
        )


class Fleet:
    """Devices that hold the channel, and fetch what they are woken for."""

    def __init__(self, http: aiohttp.ClientSession, held: dict[UUID, str]) -> None:
        self.http, self.held = http, held
        self.received: dict[str, float] = {}  # by command, or by device
        self.listening = 0
        self.answering: set[asyncio.Task[None]] = set()
        self.last: dict[UUID, int] = dict.fromkeys(held, 0)

    async def listen(self, device_id: UUID, token: str) -> None:
        credential = {"Authorization": f"Bearer {token}"}
        headers = {**credential, "Accept": "text/event-stream"}
        async with self.http.get(STREAM, headers=headers) as answer:
            assert answer.status == 200
            self.listening += 1
            async for line in answer.content:
                if line.startswith(b"data: "):
                    await self._fetch(device_id, credential)

    async def _fetch(self, device_id: UUID, credential: dict[str, str]) -> None:
        url = f"{WEB}/devices/me/commands?after={self.last[device_id]}"
        async with self.http.get(url, headers=credential) as answer:
            told = await answer.json()
        now = time.perf_counter()
        for command in told["results"]:
            self.received[command["id"]] = self.received[str(device_id)] = now
            self.last[device_id] = max(self.last[device_id], command["sequence"])
            answering = asyncio.create_task(self._answer(command["id"], credential))
            self.answering.add(answering)
            answering.add_done_callback(self.answering.discard)

    async def _answer(self, command_id: str, credential: dict[str, str]) -> None:
        """When it is done, which takes a box a while."""
        await asyncio.sleep(TAKES)
        url = f"{WEB}/devices/me/commands/{command_id}/answer"
        said = {"status": "succeeded"}
        async with self.http.post(url, json=said, headers=credential) as answer:
            assert answer.status == 204, await answer.text()


@asynccontextmanager
async def _fleet(held: dict[UUID, str]) -> AsyncIterator[Fleet]:
    connector = aiohttp.TCPConnector(limit=0)
    endless = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=endless) as http:
        fleet = Fleet(http, held)
        lives = []
        for number, (device_id, token) in enumerate(held.items()):
            lives.append(asyncio.create_task(fleet.listen(device_id, token)))
            if number % 50 == 0:
                await asyncio.sleep(0.1)
        while fleet.listening < len(held):
            done, _ = await asyncio.wait(lives, timeout=0.1)
            assert not done, done  # none has ended
        yield fleet
        for life in lives:
            life.cancel()


async def _bare(fleet: Fleet) -> Figures:
    """What two requests cost that do next to nothing: a POST and a GET behind it."""
    taken = []
    begun = time.perf_counter()
    for _ in range(200):
        at = time.perf_counter()
        for _ in range(2):
            async with fleet.http.get(f"{WEB}/health/live") as answer:
                await answer.read()
        taken.append(time.perf_counter() - at)
    return Figures(200, 0, time.perf_counter() - begun, sorted(taken))


async def _one_by_one(fleet: Fleet, member: str) -> Figures:
    """Some controllers, each of whom commands one device after the other."""
    devices = iter(list(fleet.held) * (COMMANDS // len(fleet.held) + 1))
    begun = time.perf_counter()
    sent: dict[str, float] = {}

    async def controlling() -> None:
        while len(sent) < COMMANDS:
            at, device_id = time.perf_counter(), next(devices)
            url = f"{WEB}/remote-control/{device_id}/command"
            told = await _post(fleet, url, {"type": "wake_up"}, member)
            sent[told["id"]] = at
            await asyncio.sleep(0.02)

    await asyncio.gather(*(controlling() for _ in range(CONTROLLERS)))
    await asyncio.sleep(TAKES + 2)
    taken = sorted(fleet.received[name] - at for name, at in sent.items())
    return Figures(len(taken), 0, time.perf_counter() - begun, taken)


async def _all_at_once(fleet: Fleet, member: str) -> float:
    fleet.received.clear()
    begun = time.perf_counter()
    body = {"type": "reload", "filter": {"model": "listening"}}
    await _post(fleet, f"{WEB}/remote-control/bulk", body, member)
    wanted = {str(device_id) for device_id in fleet.held}
    while not wanted <= fleet.received.keys():
        await asyncio.sleep(0.01)
        if time.perf_counter() - begun > 60:
            raise RuntimeError(f"{len(wanted & fleet.received.keys())} have it.")
    return max(fleet.received[name] for name in wanted) - begun


async def _post(fleet: Fleet, url: str, body: Any, member: str) -> Any:
    headers = {"Authorization": f"Bearer {member}"}
    async with fleet.http.post(url, json=body, headers=headers) as answer:
        told = await answer.json()
        assert answer.status == 201, told
        return told


def _weigh(stream: int, held: dict[UUID, str]) -> None:
    """What so many quiet connections cost the two processes that hold them."""
    time.sleep(5)  # those of before are gone
    before = _memory(stream)
    asyncio.run(_hold(held, lambda: _say_weight(stream, before, len(held))))


async def _hold(held: dict[UUID, str], then: Any) -> None:
    connections = []
    for number, token in enumerate(held.values()):
        connections.append(await _quiet(token))
        if number % 500 == 499:
            await asyncio.sleep(0.2)
    await asyncio.sleep(35)  # each has heard a ping
    await asyncio.to_thread(then)
    for _, writer in connections:
        writer.close()


async def _quiet(token: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", STREAM_PORT, limit=4096)
    head = (
        "GET /devices/me/commands/stream HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {token}\r\nAccept: text/event-stream\r\n\r\n"
    )
    writer.write(head.encode())
    status = await reader.readline()
    assert b" 200 " in status, status
    return reader, writer


def _say_weight(stream: int, before: int, count: int) -> None:
    each = (_memory(stream) - before) / count / 1024
    print(
        f"push: {count:,} quiet connections on two processes: {each:.1f} KB each"
        " (target at most 60)"
    )


def _memory(pid: int) -> int:
    """Of the processes that hold connections, in bytes that are theirs alone."""
    workers = psutil.Process(pid).children(recursive=True)
    return sum(worker.memory_full_info().uss for worker in workers)


def _devices(tenant: Tenant, count: int) -> dict[UUID, str]:
    """So many devices that are online, with their tokens; the first thousand listen."""
    now = timezone.now()
    made = Device.objects.bulk_create(
        Device(
            tenant=tenant,
            name=f"TV-{number:06}",
            model="listening" if number < DEVICES else "quiet",
            status=Device.Status.ONLINE,
            last_seen=now,
            registered_at=now,
        )
        for number in range(count)
    )
    held = {device.pk: tokens.make(DeviceToken.prefix) for device in made}
    DeviceToken.objects.bulk_create(
        DeviceToken(device_id=pk, digest=tokens.digest(token), issued_at=now)
        for pk, token in held.items()
    )
    return held


def _member() -> str:
    user = User.objects.create_user("bench@example.com")
    membership = Membership.objects.create(user=user, role=Role.ADMIN)
    policies.change(blast_radius=DEVICES, now=timezone.now())
    return issue_api_token(membership=membership, name="bench", now=timezone.now())[1]


def _allow_many_connections() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
