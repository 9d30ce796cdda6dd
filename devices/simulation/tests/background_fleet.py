"""Run a simulated fleet in the background of a test."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from devices.simulation.fleet import Fleet
from devices.simulation.run_statistics import RunStatistics


@contextmanager
def running_fleet(fleet: Fleet) -> Iterator[RunStatistics]:
    """Run the fleet in a thread during the `with` block. Yield the statistics of the run."""
    loop, tally = asyncio.new_event_loop(), RunStatistics()
    task = loop.create_task(fleet.run(tally))

    def run() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield tally
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
