"""Push notifications: the latency of commands and the memory of idle connections."""

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
from benchmarks.client import LoadResult
from benchmarks.roles import running_role
from benchmarks.size import size
from benchmarks.stage import web
from devices.registry.models import Device, DeviceToken
from devices.remote_control.services import policies
from tenants import tokens
from tenants.context import tenant_scope
from tenants.models import Membership, Role, Tenant, User

PORT, STREAM_PORT = 8979, 9979
STREAM = f"http://127.0.0.1:{STREAM_PORT}/devices/me/commands/stream"
WEB = f"http://127.0.0.1:{PORT}"
DEVICES = size(1_000, quick=100)
COMMANDS = size(1_000, quick=50)
CONTROLLERS = 4
IDLE_CONNECTIONS = size(10_000, quick=500)
EXECUTION_SECONDS = 3.0  # duration of the execution of a command


def main() -> None:
    _raise_file_limit()
    os.environ["RATE_MEMBER"] = os.environ["RATE_TENANT"] = "off"
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    with tenant_scope(tenant.pk):
        device_tokens = _create_devices(tenant, IDLE_CONNECTIONS)
        member_token = _create_member()
    connection.close()
    with (
        web("provisioning.rsgi:app", PORT),
        running_role("worker", PORT),
        running_role("stream", STREAM_PORT) as stream,
    ):
        asyncio.run(_measure_latencies(dict(list(device_tokens.items())[:DEVICES]), member_token))
        _measure_memory(stream, device_tokens)


async def _measure_latencies(device_tokens: dict[UUID, str], member_token: str) -> None:
    async with _fleet(device_tokens) as fleet:
        bare_result = await _measure_bare_requests(fleet)
        result = await _measure_single_commands(fleet, member_token)
        print(
            f"push: a command from its POST to its device, {len(device_tokens):,} devices"
            f" listening: p50 {result.percentile(0.5):.0f} ms, p95"
            f" {result.percentile(0.95):.0f} ms (target below 200), p99"
            f" {result.percentile(0.99):.0f} ms; two bare requests one after the other:"
            f" p50 {bare_result.percentile(0.5):.0f} ms; ratio"
            f" {result.percentile(0.5) / bare_result.percentile(0.5):.1f}"
        )
        seconds = await _measure_bulk_command(fleet, member_token)
        print(
            f"push: one command to {len(device_tokens):,} devices, from its POST until the last"
            f" has fetched it: {seconds:.2f} s (target below 2)"
        )


class Fleet:
    """Devices with an open push connection that fetch commands when notified."""

    def __init__(self, http: aiohttp.ClientSession, device_tokens: dict[UUID, str]) -> None:
        self.http, self.device_tokens = http, device_tokens
        # The time of receipt, by command id and by device id.
        self.received: dict[str, float] = {}
        self.listening = 0
        self.answer_tasks: set[asyncio.Task[None]] = set()
        self.last_sequences: dict[UUID, int] = dict.fromkeys(device_tokens, 0)

    async def listen(self, device_id: UUID, token: str) -> None:
        credential = {"Authorization": f"Bearer {token}"}
        headers = {**credential, "Accept": "text/event-stream"}
        async with self.http.get(STREAM, headers=headers) as response:
            assert response.status == 200
            self.listening += 1
            async for line in response.content:
                if line.startswith(b"data: "):
                    await self._fetch(device_id, credential)

    async def _fetch(self, device_id: UUID, credential: dict[str, str]) -> None:
        url = f"{WEB}/devices/me/commands?after={self.last_sequences[device_id]}"
        async with self.http.get(url, headers=credential) as response:
            content = await response.json()
        now = time.perf_counter()
        for command in content["results"]:
            self.received[command["id"]] = self.received[str(device_id)] = now
            self.last_sequences[device_id] = max(
                self.last_sequences[device_id], command["sequence"]
            )
            task = asyncio.create_task(self._answer(command["id"], credential))
            self.answer_tasks.add(task)
            task.add_done_callback(self.answer_tasks.discard)

    async def _answer(self, command_id: str, credential: dict[str, str]) -> None:
        """Report the result of a command after `EXECUTION_SECONDS`."""
        await asyncio.sleep(EXECUTION_SECONDS)
        url = f"{WEB}/devices/me/commands/{command_id}/answer"
        body = {"status": "succeeded"}
        async with self.http.post(url, json=body, headers=credential) as response:
            assert response.status == 204, await response.text()


@asynccontextmanager
async def _fleet(device_tokens: dict[UUID, str]) -> AsyncIterator[Fleet]:
    connector = aiohttp.TCPConnector(limit=0)
    no_timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=no_timeout) as http:
        fleet = Fleet(http, device_tokens)
        tasks = []
        for number, (device_id, token) in enumerate(device_tokens.items()):
            tasks.append(asyncio.create_task(fleet.listen(device_id, token)))
            if number % 50 == 0:
                await asyncio.sleep(0.1)
        while fleet.listening < len(device_tokens):
            done, _ = await asyncio.wait(tasks, timeout=0.1)
            assert not done, done  # a task ends only with an error
        yield fleet
        for task in tasks:
            task.cancel()


async def _measure_bare_requests(fleet: Fleet) -> LoadResult:
    """Measure two trivial requests in sequence, as a baseline for a POST and a GET."""
    latencies = []
    started = time.perf_counter()
    for _ in range(200):
        sent_at = time.perf_counter()
        for _ in range(2):
            async with fleet.http.get(f"{WEB}/health/live") as response:
                await response.read()
        latencies.append(time.perf_counter() - sent_at)
    return LoadResult(200, 0, time.perf_counter() - started, sorted(latencies))


async def _measure_single_commands(fleet: Fleet, member_token: str) -> LoadResult:
    """Measure commands that several controllers send to one device after the other."""
    devices = iter(list(fleet.device_tokens) * (COMMANDS // len(fleet.device_tokens) + 1))
    started = time.perf_counter()
    sent_times: dict[str, float] = {}

    async def run_controller() -> None:
        while len(sent_times) < COMMANDS:
            sent_at, device_id = time.perf_counter(), next(devices)
            url = f"{WEB}/remote-control/{device_id}/command"
            content = await _post(fleet, url, {"type": "wake_up"}, member_token)
            sent_times[content["id"]] = sent_at
            await asyncio.sleep(0.02)

    await asyncio.gather(*(run_controller() for _ in range(CONTROLLERS)))
    await asyncio.sleep(EXECUTION_SECONDS + 2)
    latencies = sorted(
        fleet.received[command_id] - sent_at for command_id, sent_at in sent_times.items()
    )
    return LoadResult(len(latencies), 0, time.perf_counter() - started, latencies)


async def _measure_bulk_command(fleet: Fleet, member_token: str) -> float:
    fleet.received.clear()
    started = time.perf_counter()
    body = {"type": "reload", "filter": {"model": "listening"}}
    await _post(fleet, f"{WEB}/remote-control/bulk", body, member_token)
    expected = {str(device_id) for device_id in fleet.device_tokens}
    while not expected <= fleet.received.keys():
        await asyncio.sleep(0.01)
        if time.perf_counter() - started > 60:
            raise RuntimeError(f"{len(expected & fleet.received.keys())} devices have fetched it.")
    return max(fleet.received[name] for name in expected) - started


async def _post(fleet: Fleet, url: str, body: Any, member_token: str) -> Any:
    headers = {"Authorization": f"Bearer {member_token}"}
    async with fleet.http.post(url, json=body, headers=headers) as response:
        content = await response.json()
        assert response.status == 201, content
        return content


def _measure_memory(stream: int, device_tokens: dict[UUID, str]) -> None:
    """Measure the memory of idle connections in the two push server processes."""
    time.sleep(5)  # the earlier connections are then closed
    previous_memory = _memory(stream)
    asyncio.run(
        _hold_connections(
            device_tokens, lambda: _print_memory(stream, previous_memory, len(device_tokens))
        )
    )


async def _hold_connections(device_tokens: dict[UUID, str], callback: Any) -> None:
    connections = []
    for number, token in enumerate(device_tokens.values()):
        connections.append(await _open_connection(token))
        if number % 500 == 499:
            await asyncio.sleep(0.2)
    await asyncio.sleep(35)  # each connection has received a ping
    await asyncio.to_thread(callback)
    for _, writer in connections:
        writer.close()


async def _open_connection(token: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", STREAM_PORT, limit=4096)
    head = (
        "GET /devices/me/commands/stream HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {token}\r\nAccept: text/event-stream\r\n\r\n"
    )
    writer.write(head.encode())
    status = await reader.readline()
    assert b" 200 " in status, status
    return reader, writer


def _print_memory(stream: int, previous_memory: int, count: int) -> None:
    kilobytes = (_memory(stream) - previous_memory) / count / 1024
    print(
        f"push: {count:,} idle connections on two processes: {kilobytes:.1f} KB each"
        " (target at most 60)"
    )


def _memory(pid: int) -> int:
    """Return the unshared memory of the push server processes in bytes."""
    workers = psutil.Process(pid).children(recursive=True)
    return sum(worker.memory_full_info().uss for worker in workers)


def _create_devices(tenant: Tenant, count: int) -> dict[UUID, str]:
    """Create online devices. Return their tokens by device id.

    The first `DEVICES` devices have the model "listening", so that a filter selects them.
    """
    now = timezone.now()
    devices = Device.objects.bulk_create(
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
    device_tokens = {device.pk: tokens.make(DeviceToken.prefix) for device in devices}
    DeviceToken.objects.bulk_create(
        DeviceToken(device_id=pk, digest=tokens.digest(token), issued_at=now)
        for pk, token in device_tokens.items()
    )
    return device_tokens


def _create_member() -> str:
    user = User.objects.create_user("bench@example.com")
    membership = Membership.objects.create(user=user, role=Role.ADMIN)
    policies.change(blast_radius=DEVICES, now=timezone.now())
    return issue_api_token(membership=membership, name="bench", now=timezone.now())[1]


def _raise_file_limit() -> None:
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
