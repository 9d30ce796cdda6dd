"""Callers take turns for the threads of the web server."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from provisioning.fair_queue import FairQueue, KnownCredentials, QueueFull


def queue(*, most_of_caller: int = 1, **limits: int) -> FairQueue:
    defaults = {
        "places": 2,
        "most_waiting": 10,
        "most_waiting_of_group": 8,
        "most_waiting_of_caller": 5,
    }
    return FairQueue(most_of_caller=lambda _: most_of_caller, **{**defaults, **limits})


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 5))


async def started(turns: "FairQueue", caller: str, order: list[str]) -> None:
    await turns.acquire(caller)
    order.append(caller)


def test_callers_take_turns_however_many_requests_one_of_them_sends() -> None:
    async def test() -> None:
        turns = queue(places=1)
        order: list[str] = []
        await turns.acquire("greedy")
        tasks = [asyncio.create_task(started(turns, "greedy", order)) for _ in range(4)]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(started(turns, "other", order)))
        await asyncio.sleep(0)
        for caller in ("greedy", "greedy", "other", "greedy", "greedy"):
            turns.release(caller)
            await asyncio.sleep(0)
        assert order == ["greedy", "other", "greedy", "greedy", "greedy"]
        await asyncio.gather(*tasks)

    run(test())


def test_many_callers_of_one_tenant_do_not_delay_another_tenant() -> None:
    async def test() -> None:
        turns = queue(places=1)
        order: list[str] = []

        async def request(caller: str, tenant: str) -> None:
            await turns.acquire(caller, tenant)
            order.append(caller)

        await turns.acquire("busy 0", "busy")
        callers = [(f"busy {number}", "busy") for number in range(1, 5)] + [("other", "calm")]
        tasks = [asyncio.create_task(request(*caller)) for caller in callers]
        await asyncio.sleep(0)
        for caller in ("busy 0", "busy 1", "other", "busy 2", "busy 3", "busy 4"):
            turns.release(caller)
            await asyncio.sleep(0)
        assert order == ["busy 1", "other", "busy 2", "busy 3", "busy 4"]
        await asyncio.gather(*tasks)

    run(test())


def test_waiting_requests_of_one_tenant_leave_room_for_others() -> None:
    async def test() -> None:
        turns = queue(places=1, most_waiting=3, most_waiting_of_group=2)
        await turns.acquire("a", "busy")
        tasks = [asyncio.create_task(turns.acquire(name, "busy")) for name in ("b", "c")]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await turns.acquire("d", "busy")
        tasks.append(asyncio.create_task(turns.acquire("e", "calm")))
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()

    run(test())


def test_one_caller_never_takes_all_places() -> None:
    async def test() -> None:
        turns = queue(places=2, most_of_caller=1)
        await turns.acquire("greedy")
        waiting = asyncio.create_task(turns.acquire("greedy"))
        await asyncio.sleep(0)
        await turns.acquire("other")
        assert not waiting.done()
        turns.release("greedy")
        await waiting

    run(test())


def test_waiting_requests_are_limited_in_total_and_by_caller() -> None:
    async def test() -> None:
        turns = queue(places=1, most_waiting=3, most_waiting_of_caller=2)
        await turns.acquire("a")
        tasks = [asyncio.create_task(turns.acquire("a")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await turns.acquire("a")
        tasks.append(asyncio.create_task(turns.acquire("b")))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await turns.acquire("c")
        for task in tasks:
            task.cancel()

    run(test())


def test_a_request_that_no_longer_waits_takes_no_place() -> None:
    async def test() -> None:
        turns = queue(places=1)
        await turns.acquire("a")
        gone = asyncio.create_task(turns.acquire("b"))
        waiting = asyncio.create_task(turns.acquire("c"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        turns.release("a")
        await waiting
        turns.release("c")
        await turns.acquire("d")

    run(test())


def test_credentials_are_known_after_they_were_accepted_and_forgotten_when_there_are_many() -> None:
    known = KnownCredentials(most=4)
    known.add("first")
    assert "first" in known
    assert "invented" not in known
    for number in range(4):
        known.add(str(number))
    assert "first" not in known
