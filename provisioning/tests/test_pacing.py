"""A member's expensive requests leave the threads of the web server to the other callers."""

import asyncio
import threading
from typing import Any

import pytest

from provisioning.fair_threads import FairThreads
from provisioning.pacing import ACTIVE_SECONDS, BURST_SECONDS, Pacing

MEMBER, DEVICE = "Bearer usr_one", "Bearer dev_one"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def pacing(clock: Clock) -> Pacing:
    return Pacing(lambda caller: 0.25 if caller == MEMBER else 1.0, clock=clock)


def test_a_caller_with_a_share_waits_after_it_has_used_more_while_another_is_active() -> None:
    clock = Clock()
    pace = pacing(clock)
    pace.note_start(DEVICE)

    assert pace.applies(MEMBER)
    pace.note_end(MEMBER, BURST_SECONDS * 0.25)
    assert pace.pause(MEMBER) == 0
    pace.note_end(MEMBER, 0.1)
    assert round(pace.pause(MEMBER), 6) == 0.4
    clock.now += 0.4
    assert round(pace.pause(MEMBER), 6) == 0


def test_a_caller_that_is_alone_is_not_limited() -> None:
    clock = Clock()
    pace = pacing(clock)
    pace.note_start(DEVICE)
    pace.note_start(MEMBER)
    clock.now += ACTIVE_SECONDS
    pace.note_start(MEMBER)

    assert not pace.applies(MEMBER)


def test_a_caller_with_a_whole_thread_is_never_limited() -> None:
    pace = pacing(Clock())
    pace.note_start(MEMBER)
    pace.note_end(DEVICE, 1000.0)

    assert not pace.applies(DEVICE)
    assert pace.pause(DEVICE) == 0


@pytest.mark.parametrize("by_fast_answer", [False, True], ids=["in a thread", "on the fast path"])
def test_parallel_requests_of_a_member_run_one_at_a_time_while_a_device_is_active(
    by_fast_answer: bool,
) -> None:
    running: list[str] = []
    together: list[int] = []
    started = threading.Event()

    def run(environ: dict[str, Any]) -> tuple[int]:
        running.append(environ["HTTP_AUTHORIZATION"])
        together.append(running.count(MEMBER))
        started.wait(0.05)
        running.remove(environ["HTTP_AUTHORIZATION"])
        return (200,)

    def environ(credential: str) -> dict[str, Any]:
        return {
            "HTTP_AUTHORIZATION": credential,
            "REMOTE_ADDR": "192.0.2.1",
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/devices",
        }

    async def test() -> None:
        threads = FairThreads(run, threads=4)
        await threads.answer(environ(MEMBER))  # accepted, so known from now on
        if by_fast_answer:
            threads.note_fast_answer(DEVICE, "a tenant")
        else:
            await threads.answer(environ(DEVICE))
        answers = [threads.answer(environ(MEMBER)) for _ in range(5)]
        assert await asyncio.gather(*answers) == [(200,)] * 5

    asyncio.run(test())
    assert max(together) == 1
