"""The other roles that a benchmark wants beside it, as `up` starts them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from provisioning.embedded import endpoints
from provisioning.processes import Program, start, stop
from provisioning.roles import command_of


@contextmanager
def running(role: str, port: int) -> Iterator[int]:
    """A role in a process of its own; the process's id."""
    program = Program(name=role, command=command_of(role, port=port))
    child = start(program, quiet=True)
    try:
        while role == "stream" and not endpoints.answers(port):
            time.sleep(0.1)
        time.sleep(4)
        yield child.pid
    finally:
        stop([(program, child)])
