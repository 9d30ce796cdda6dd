"""The push channel for real: a process of its own, devices that hold it, commands."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from devices.remote_control.push.subscriptions import Wakeups
from django.db import connection

from devices.registry.models import Device
from devices.registry.services.credentials import renew_device_token
from devices.remote_control.models import CommandHistory
from devices.remote_control.services.connect_response import PATH
from devices.remote_control.tests.remote_control import online, person, told
from devices.updates.tests.rollouts import person as administrator
from devices.updates.tests.rollouts import released, started, tick
from provisioning.tests.channel import Channel, serving
from provisioning.tests.channel import started as running
from tenants.context import tenant_scope
from tenants.models import Tenant, User
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db(transaction=True)
SOON = 5.0  # seconds; it takes a few milliseconds


async def event(lines: Any) -> tuple[str, str]:
    """The next event of a stream: its id and its data."""
    named: dict[str, str] = {}
    async with asyncio.timeout(SOON):
        async for line in lines:
            name, _, said = line.decode().strip().partition(": ")
            named[name] = said
            if name == "data":
                return named["id"], named["data"]
    raise AssertionError("The stream has ended.")


@pytest.fixture(scope="module")
def channel(django_db_setup: None) -> Iterator[Channel]:
    yield from serving()


@pytest.fixture
def channel_without_redis() -> Iterator[Channel]:
    yield from serving(REDIS_URL="redis://127.0.0.1:1/0")


@pytest.fixture
def tenant() -> Tenant:
    made: Tenant = TenantFactory.create()
    return made


@pytest.fixture
def device(tenant: Tenant) -> Device:
    return online(tenant)


@pytest.fixture
def operator(tenant: Tenant) -> User:
    return person(tenant)


def token_of(device: Device) -> str:
    with tenant_scope(device.tenant_id):
        return renew_device_token(device, now=datetime.now(UTC))


def reload(device: Device, by: User) -> Awaitable[CommandHistory]:
    """A command, given while the loop goes on."""

    def give() -> CommandHistory:
        try:
            return told(device, "reload", by=by, now=datetime.now(UTC))
        finally:
            connection.close()  # this thread's

    return asyncio.to_thread(give)


def test_a_device_that_holds_the_channel_hears_of_each_command(
    channel: Channel, device: Device, operator: User
) -> None:
    token = token_of(device)

    async def listening() -> list[tuple[str, str]]:
        async with channel.held(token) as lines:
            heard = []
            for _ in range(2):
                await reload(device, operator)
                heard.append(await event(lines))
            return heard

    assert asyncio.run(listening()) == [
        ("1", '{"sequence": 1}'),
        ("2", '{"sequence": 2}'),
    ]


def test_a_device_hears_that_an_update_is_meant_for_it(
    channel: Channel, device: Device, tenant: Tenant, tmp_path: Path
) -> None:
    token, now = token_of(device), datetime.now(UTC)

    def begin() -> None:
        with tenant_scope(tenant.pk):
            started(released(now, tmp_path), administrator(tenant), now)
            tick(now)
        connection.close()  # this thread's

    async def listening() -> list[str]:
        async with channel.held(token) as lines:
            await asyncio.to_thread(begin)
            async with asyncio.timeout(SOON):
                async for line in lines:
                    if line.startswith(b"event"):
                        return [line.decode(), (await lines.readline()).decode()]
        raise AssertionError("The stream has ended.")

    assert asyncio.run(listening()) == ["event: update\n", "data: {}\n"]


def test_nobody_elses_commands_are_heard(
    channel: Channel, device: Device, operator: User, tenant: Tenant
) -> None:
    token, other = token_of(device), online(tenant)

    async def listening() -> tuple[str, str]:
        async with channel.held(token) as lines:
            await reload(other, operator)
            await reload(other, operator)
            await reload(device, operator)
            return await event(lines)

    assert asyncio.run(listening()) == ("1", '{"sequence": 1}')


def test_who_comes_back_hears_at_once_what_was_missed_and_nothing_twice(
    channel: Channel, device: Device, operator: User
) -> None:
    token = token_of(device)
    now = datetime.now(UTC)
    for _ in range(3):
        told(device, "reload", by=operator, now=now)

    async def coming_back() -> tuple[tuple[str, str], tuple[str, str]]:
        async with channel.held(token, **{"Last-Event-ID": "1"}) as lines:
            missed = await event(lines)
        async with channel.held(token, **{"Last-Event-ID": "3"}) as lines:
            await reload(device, operator)
            return missed, await event(lines)

    missed, new = asyncio.run(coming_back())
    assert (missed[0], new[0]) == ("3", "4")


def test_who_has_seen_more_than_there_is_is_told_to_fetch(
    channel: Channel, device: Device
) -> None:
    """As after a restored back-up: what it fetches then puts the numbers right."""
    token = token_of(device)

    async def coming() -> tuple[str, str]:
        async with channel.held(token, **{"Last-Event-ID": "900"}) as lines:
            return await event(lines)

    assert asyncio.run(coming()) == ("0", '{"sequence": 0}')


def test_told_to_end_it_says_so_to_who_listens(device: Device) -> None:
    token, channel = token_of(device), running()

    async def ended() -> bytes:
        async with channel.held(token) as lines:
            assert (await lines.readline()).startswith(b"retry")
            channel.server.terminate()
            async with asyncio.timeout(SOON):
                return bytes(await lines.read())

    # Cut off in the middle, the client would find that the answer is not whole.
    assert asyncio.run(ended()) == b"\n"
    assert channel.server.wait(timeout=60) == 0


def test_a_long_poll_ends_with_the_command(
    channel: Channel, device: Device, operator: User
) -> None:
    token = token_of(device)

    async def polling() -> list[Any]:
        waiting = asyncio.create_task(channel.polled(token, 0))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await reload(device, operator)
        async with asyncio.timeout(SOON):
            first = await waiting
            return [first, await channel.polled(token, 0)]

    assert (
        asyncio.run(polling()) == [(200, {"sequence": 1, "update_waiting": False})] * 2
    )


def test_a_device_listens_at_one_place(
    channel: Channel, device: Device, operator: User
) -> None:
    """One that lost its connection and does not know it yet keeps nothing open."""
    token = token_of(device)

    async def again_and_again() -> None:
        # There are two processes, and in each of them one is left at most.
        held = [channel.held(token) for _ in range(8)]
        lines = [await one.__aenter__() for one in held]
        ended = 0
        for one in lines:
            await one.readline()
            await one.readline()
        for one in lines:
            try:
                async with asyncio.timeout(0.2):
                    ended += await one.readline() == b""
            except TimeoutError:
                continue
        for one in held:
            await one.__aexit__(None, None, None)
        assert ended >= 6

    asyncio.run(again_and_again())


def test_a_stranger_is_refused_in_the_words_of_the_application(
    channel: Channel,
) -> None:
    async def asking() -> Any:
        async with aiohttp.ClientSession() as http, http.get(channel.url) as answer:
            return answer.status, await answer.json()

    status, said = asyncio.run(asking())
    assert status == 401
    assert said["errors"][0]["code"] == "not_authenticated"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/devices"), ("POST", PATH), ("GET", "/admin/")]
)
def test_here_is_the_push_channel_alone(
    channel: Channel, method: str, path: str
) -> None:
    async def asking() -> Any:
        url = channel.url.replace(PATH, path)
        async with (
            aiohttp.ClientSession() as http,
            http.request(method, url) as answer,
        ):
            return answer.status, await answer.json()

    status, said = asyncio.run(asking())
    assert (status, said["errors"][0]["code"]) == (404, "not_found")


def test_a_storm_of_devices_that_come_back_at_once_is_let_in(
    channel: Channel, tenant: Tenant, operator: User
) -> None:
    devices = [online(tenant) for _ in range(150)]
    tokens = [token_of(device) for device in devices]

    async def coming(token: str, lasts: asyncio.Event) -> None:
        async with channel.held(token) as lines:
            assert (await lines.readline()).startswith(b"retry: ")
            await lasts.wait()

    async def storm() -> None:
        for _ in range(2):
            lasts = asyncio.Event()
            async with asyncio.timeout(60), asyncio.TaskGroup() as all_of_them:
                for token in tokens:
                    all_of_them.create_task(coming(token, lasts))
                await asyncio.sleep(1)
                lasts.set()
        async with channel.held(tokens[0]) as lines:
            await reload(devices[0], operator)
            assert await event(lines) == ("1", '{"sequence": 1}')

    asyncio.run(storm())


def test_without_redis_the_database_is_asked(
    channel_without_redis: Channel, device: Device, operator: User
) -> None:
    token = token_of(device)

    async def polling() -> Any:
        waiting = asyncio.create_task(channel_without_redis.polled(token, 0))
        await asyncio.sleep(0.5)
        await reload(device, operator)
        return await waiting

    assert asyncio.run(polling()) == (200, {"sequence": 1, "update_waiting": False})


class TestWhoHearsWhat:
    """Of one process, with nothing around it."""

    def run(self, steps: Callable[[Wakeups], None]) -> None:
        async def within_a_loop() -> None:
            steps(Wakeups())

        asyncio.run(within_a_loop())

    def test_what_was_said_while_a_device_was_let_in_is_known_to_it(self) -> None:
        def steps(wakeups: Wakeups) -> None:
            wakeups.hear({"one": 7})
            assert wakeups.join("one", 6).sequence == 7

        self.run(steps)

    def test_what_comes_late_undoes_nothing(self) -> None:
        def steps(wakeups: Wakeups) -> None:
            listener = wakeups.join("one", 5)
            wakeups.hear({"one": 4})
            assert (listener.sequence, listener.changed.is_set()) == (5, False)

        self.run(steps)

    def test_who_leaves_does_not_take_its_successor_along(self) -> None:
        def steps(wakeups: Wakeups) -> None:
            first = wakeups.join("one", 0)
            second = wakeups.join("one", 0)
            wakeups.leave("one", first)
            wakeups.hear({"one": 1})
            assert (first.is_over, second.sequence, len(wakeups)) == (True, 1, 1)

        self.run(steps)
