"""Start additional server roles for a benchmark, as `up` does."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from provisioning.embedded import endpoints
from provisioning.processes import Program, start, stop
from provisioning.roles import command_line


@contextmanager
def running_role(role: str, port: int) -> Iterator[int]:
    """Run a role in a new process. Yield the process id."""
    program = Program(name=role, command=command_line(role, port=port))
    process = start(program, quiet=True)
    try:
        while role == "stream" and not endpoints.accepts_connections(port):
            time.sleep(0.1)
        time.sleep(4)
        yield process.pid
    finally:
        stop([(program, process)])
