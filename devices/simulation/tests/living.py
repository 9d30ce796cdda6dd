"""A simulated fleet that lives beside a test."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from devices.simulation.fleet import Fleet
from devices.simulation.tally import Tally


@contextmanager
def living(fleet: Fleet) -> Iterator[Tally]:
    """Let the boxes live in a thread of their own, for as long as the block."""
    loop, tally = asyncio.new_event_loop(), Tally()
    task = loop.create_task(fleet.run(tally))

    def live() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            loop.close()

    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield tally
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
