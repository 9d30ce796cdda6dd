"""Tests of the Redis subscription of the push server."""

import asyncio

from core.push import subscription
from core.push.subscription import Subscription


def test_a_failed_catch_up_stops_neither_the_others_nor_the_subscription() -> None:
    calls: list[str] = []

    async def failing() -> None:
        calls.append("failing")
        raise RuntimeError

    async def working() -> None:
        calls.append("working")

    async def run() -> None:
        reading = Subscription({"a-channel": lambda data: None}, [failing, working])
        task = asyncio.create_task(reading.run())
        async with asyncio.timeout(10):
            await reading.is_active.wait()
        while "working" not in calls:
            assert not task.done()
            await asyncio.sleep(subscription.TICK / 500)
        assert not task.done()
        task.cancel()

    asyncio.run(run())

    assert calls == ["failing", "working"]
