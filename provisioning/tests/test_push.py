"""End-to-end tests of the push channel with a running push server."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from django.db import connection

from core.push.admission import Admission
from devices.registry.clones import MIN_REPLACEMENTS
from devices.registry.models import Device
from devices.registry.services.credentials import renew_device_token
from devices.registry.services.quarantine import quarantine
from devices.remote_control.models import CommandHistory
from devices.remote_control.push.device_push import DevicePush
from devices.remote_control.services.connect_response import PATH
from devices.remote_control.tests.remote_control import create_member, issue_command, online_device
from devices.updates.tests.rollouts import create_member as administrator
from devices.updates.tests.rollouts import create_released_package, run_due_steps, start_rollout
from provisioning.tests.push_channel import Channel, running_channel, start_channel
from tenants.context import tenant_scope
from tenants.models import Tenant, User
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db(transaction=True)
TIMEOUT = 5.0  # seconds; usually an event takes a few milliseconds


async def next_event(lines: Any) -> tuple[str, str]:
    """Return id and data of the next event of a stream."""
    fields: dict[str, str] = {}
    async with asyncio.timeout(TIMEOUT):
        async for line in lines:
            name, _, value = line.decode().strip().partition(": ")
            fields[name] = value
            if name == "data":
                return fields["id"], fields["data"]
    raise AssertionError("The stream has ended.")


@pytest.fixture(scope="module")
def channel(django_db_setup: None) -> Iterator[Channel]:
    yield from running_channel()


@pytest.fixture
def channel_without_redis() -> Iterator[Channel]:
    yield from running_channel(REDIS_URL="redis://127.0.0.1:1/0")


@pytest.fixture
def tenant() -> Tenant:
    return TenantFactory.create()


@pytest.fixture
def device(tenant: Tenant) -> Device:
    return online_device(tenant)


@pytest.fixture
def operator(tenant: Tenant) -> User:
    return create_member(tenant)


def token_of(device: Device) -> str:
    with tenant_scope(device.tenant_id):
        return renew_device_token(device, now=datetime.now(UTC))


def issue_reload(device: Device, by: User) -> Awaitable[CommandHistory]:
    """Issue a command in a thread, without blocking the event loop."""

    def issue() -> CommandHistory:
        try:
            return issue_command(device, "reload", by=by, now=datetime.now(UTC))
        finally:
            connection.close()  # the connection of this thread

    return asyncio.to_thread(issue)


def test_a_connected_device_is_notified_of_each_command(
    channel: Channel, device: Device, operator: User
) -> None:
    token = token_of(device)

    async def receive_two_events() -> list[tuple[str, str]]:
        async with channel.stream(token) as lines:
            events = []
            for _ in range(2):
                await issue_reload(device, operator)
                events.append(await next_event(lines))
            return events

    assert asyncio.run(receive_two_events()) == [("1", '{"sequence": 1}'), ("2", '{"sequence": 2}')]


def test_a_connected_device_is_notified_of_an_update(
    channel: Channel, device: Device, tenant: Tenant, tmp_path: Path
) -> None:
    token, now = token_of(device), datetime.now(UTC)

    def start_a_rollout() -> None:
        with tenant_scope(tenant.pk):
            start_rollout(create_released_package(now, tmp_path), administrator(tenant), now)
            run_due_steps(now)
        connection.close()  # the connection of this thread

    async def receive_update_event() -> list[str]:
        async with channel.stream(token) as lines:
            await asyncio.to_thread(start_a_rollout)
            async with asyncio.timeout(TIMEOUT):
                async for line in lines:
                    if line.startswith(b"event"):
                        return [line.decode(), (await lines.readline()).decode()]
        raise AssertionError("The stream has ended.")

    assert asyncio.run(receive_update_event()) == ["event: update\n", "data: {}\n"]


def test_connections_that_displace_each_other_put_the_device_in_quarantine(
    channel: Channel, device: Device
) -> None:
    token = token_of(device)

    async def open_connections() -> None:
        async with AsyncExitStack() as stack:
            for _ in range(MIN_REPLACEMENTS + 5):  # the first one of each process replaces none
                await stack.enter_async_context(channel.stream(token))

    with pytest.raises(AssertionError, match="device_quarantined"):
        asyncio.run(open_connections())

    device.refresh_from_db()
    assert device.quarantined_at is not None


def test_the_stream_of_a_device_that_is_put_in_quarantine_ends_at_once(
    channel: Channel, device: Device
) -> None:
    token = token_of(device)

    def put() -> None:
        with tenant_scope(device.tenant_id):
            quarantine(device=device, now=datetime.now(UTC))
        connection.close()  # the connection of this thread

    async def read_to_the_end() -> None:
        async with channel.stream(token) as lines:
            await lines.readline()
            await asyncio.to_thread(put)
            async with asyncio.timeout(TIMEOUT):
                async for _ in lines:
                    pass

    asyncio.run(read_to_the_end())


def test_a_device_is_not_notified_of_commands_to_other_devices(
    channel: Channel, device: Device, operator: User, tenant: Tenant
) -> None:
    token, other_device = token_of(device), online_device(tenant)

    async def receive_event() -> tuple[str, str]:
        async with channel.stream(token) as lines:
            await issue_reload(other_device, operator)
            await issue_reload(other_device, operator)
            await issue_reload(device, operator)
            return await next_event(lines)

    assert asyncio.run(receive_event()) == ("1", '{"sequence": 1}')


def test_a_reconnecting_device_is_notified_once_of_missed_commands(
    channel: Channel, device: Device, operator: User
) -> None:
    token = token_of(device)
    now = datetime.now(UTC)
    for _ in range(3):
        issue_command(device, "reload", by=operator, now=now)

    async def reconnect() -> tuple[tuple[str, str], tuple[str, str]]:
        async with channel.stream(token, **{"Last-Event-ID": "1"}) as lines:
            missed = await next_event(lines)
        async with channel.stream(token, **{"Last-Event-ID": "3"}) as lines:
            await issue_reload(device, operator)
            return missed, await next_event(lines)

    missed, new = asyncio.run(reconnect())
    assert (missed[0], new[0]) == ("3", "4")


def test_a_device_with_a_too_high_sequence_is_notified_to_fetch(
    channel: Channel, device: Device
) -> None:
    """After a restore, a device may have a too high sequence. A fetch corrects the sequence."""
    token = token_of(device)

    async def connect() -> tuple[str, str]:
        async with channel.stream(token, **{"Last-Event-ID": "900"}) as lines:
            return await next_event(lines)

    assert asyncio.run(connect()) == ("0", '{"sequence": 0}')


def test_a_stopping_server_ends_its_streams_cleanly(device: Device) -> None:
    token, channel = token_of(device), start_channel()

    async def stop_server() -> bytes:
        async with channel.stream(token) as lines:
            assert (await lines.readline()).startswith(b"retry")
            channel.server.terminate()
            async with asyncio.timeout(TIMEOUT):
                return bytes(await lines.read())

    # The client would raise an error if the chunked response were incomplete.
    assert asyncio.run(stop_server()) == b"\n"
    assert channel.server.wait(timeout=60) == 0


def test_a_long_poll_ends_with_the_command(
    channel: Channel, device: Device, operator: User
) -> None:
    token = token_of(device)

    async def poll_twice() -> list[Any]:
        waiting = asyncio.create_task(channel.poll(token, 0))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await issue_reload(device, operator)
        async with asyncio.timeout(TIMEOUT):
            first = await waiting
            return [first, await channel.poll(token, 0)]

    expected = (200, {"sequence": 1, "update_waiting": False})
    assert asyncio.run(poll_twice()) == [expected, expected]


def test_a_device_has_one_stream_per_server_process(
    channel: Channel, device: Device, operator: User
) -> None:
    """A new stream of a device ends its previous stream, which may have lost its connection."""
    token = token_of(device)

    async def open_eight_streams() -> None:
        # The server has two processes, so at most two streams stay open.
        contexts = [channel.stream(token) for _ in range(8)]
        streams = [await context.__aenter__() for context in contexts]
        ended = 0
        for stream in streams:
            await stream.readline()
            await stream.readline()
        for stream in streams:
            try:
                async with asyncio.timeout(0.2):
                    ended += await stream.readline() == b""
            except TimeoutError:
                continue
        for context in contexts:
            await context.__aexit__(None, None, None)
        assert ended >= 6

    asyncio.run(open_eight_streams())


def test_a_request_without_a_credential_gets_an_api_error(channel: Channel) -> None:
    async def request() -> Any:
        async with aiohttp.ClientSession() as http, http.get(channel.url) as response:
            return response.status, await response.json()

    status, body = asyncio.run(request())
    assert status == 401
    assert body["errors"][0]["code"] == "not_authenticated"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/devices"), ("POST", PATH), ("GET", "/admin/")]
)
def test_the_push_server_only_serves_the_push_channel(
    channel: Channel, method: str, path: str
) -> None:
    async def request() -> Any:
        url = channel.url.replace(PATH, path)
        async with aiohttp.ClientSession() as http, http.request(method, url) as response:
            return response.status, await response.json()

    status, body = asyncio.run(request())
    assert (status, body["errors"][0]["code"]) == (404, "not_found")


def test_many_devices_can_reconnect_at_the_same_time(
    channel: Channel, tenant: Tenant, operator: User
) -> None:
    devices = [online_device(tenant) for _ in range(150)]
    tokens = [token_of(device) for device in devices]

    async def connect(token: str, disconnect: asyncio.Event) -> None:
        async with channel.stream(token) as lines:
            assert (await lines.readline()).startswith(b"retry: ")
            await disconnect.wait()

    async def connect_all_twice() -> None:
        for _ in range(2):
            disconnect = asyncio.Event()
            async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
                for token in tokens:
                    tasks.create_task(connect(token, disconnect))
                await asyncio.sleep(1)
                disconnect.set()
        async with channel.stream(tokens[0]) as lines:
            await issue_reload(devices[0], operator)
            assert await next_event(lines) == ("1", '{"sequence": 1}')

    asyncio.run(connect_all_twice())


def test_without_redis_the_push_server_polls_the_database(
    channel_without_redis: Channel, device: Device, operator: User
) -> None:
    token = token_of(device)

    async def poll() -> Any:
        waiting = asyncio.create_task(channel_without_redis.poll(token, 0))
        await asyncio.sleep(0.5)
        await issue_reload(device, operator)
        return await waiting

    assert asyncio.run(poll()) == (200, {"sequence": 1, "update_waiting": False})


async def no_application(environ: dict[str, Any]) -> Any:
    raise AssertionError("The application must not be called.")


class TestDevicePush:
    """The listeners of one process, without a server."""

    def run(self, steps: Callable[[DevicePush], None]) -> None:
        async def run_in_event_loop() -> None:
            steps(DevicePush(Admission(no_application)))

        asyncio.run(run_in_event_loop())

    def test_a_new_listener_knows_a_sequence_published_during_its_connect(self) -> None:
        def steps(push: DevicePush) -> None:
            push.notify({"one": 7})
            assert push.join("one", 6).sequence == 7

        self.run(steps)

    def test_an_older_sequence_changes_nothing(self) -> None:
        def steps(push: DevicePush) -> None:
            listener = push.join("one", 5)
            push.notify({"one": 4})
            assert (listener.sequence, listener.changed.is_set()) == (5, False)

        self.run(steps)

    def test_removing_a_replaced_listener_keeps_the_new_one(self) -> None:
        def steps(push: DevicePush) -> None:
            first = push.join("one", 0)
            second = push.join("one", 0)
            push.leave("one", first)
            push.notify({"one": 1})
            assert (first.is_over, second.sequence, len(push.listeners)) == (True, 1, 1)

        self.run(steps)
