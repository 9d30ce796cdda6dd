"""Start and share the embedded servers of a data folder.

Either `up` runs the servers, or a management command runs them until it ends. The process that
runs the servers holds `servers.lock`. Every command that uses the servers holds a shared lock on
`users.lock`. A command that runs the servers stops them only after all other commands have
released this lock.
"""

import fcntl
import time
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from provisioning.embedded import postgres, valkey
from provisioning.embedded.endpoints import (
    EmbeddedError,
    Endpoints,
    load_or_create,
    with_free_ports,
)
from provisioning.processes import Program, start, stop

START_TIMEOUT = 60.0  # seconds
LOCK_TIMEOUT = 15.0  # seconds
BOTH = frozenset({"postgres", "valkey"})


def programs(
    endpoints: Endpoints, *, wanted: Set[str] = BOTH, durable: bool = True
) -> list[Program]:
    """Return PostgreSQL and Valkey as programs to run.

    Args:
        wanted: the servers to embed. All other servers are external.
        durable: keep committed rows after a power failure. Tests use False.
    """
    factories = {"postgres": postgres.program, "valkey": valkey.program}
    return [
        factory(endpoints, durable=durable) for name, factory in factories.items() if name in wanted
    ]


@contextmanager
def running(var: Path, *, wanted: Set[str] = BOTH, durable: bool = True) -> Iterator[Endpoints]:
    """Ensure that the wanted servers run while the `with` block runs.

    The servers are started by this process unless another process already runs them.
    """
    var.mkdir(parents=True, exist_ok=True)
    with (var / "users.lock").open("w") as users, _servers_lock(var) as lock:
        fcntl.flock(users, fcntl.LOCK_SH)
        if not _try_lock(lock):
            yield _servers_of_another_process(var, wanted)
            return
        endpoints = with_free_ports(var)
        children = [
            (program, start(program, quiet=True))
            for program in programs(endpoints, wanted=wanted, durable=durable)
        ]
        try:
            _wait_for(endpoints, wanted)
            if "postgres" in wanted:
                postgres.ensure_database(endpoints)
            yield endpoints
        finally:
            fcntl.flock(users, fcntl.LOCK_UN)
            fcntl.flock(users, fcntl.LOCK_EX)  # wait until all other users have ended
            stop(children)


@contextmanager
def exclusive(var: Path) -> Iterator[Endpoints]:
    """Hold the lock that a process needs to run the servers of this folder. Used by `up`.

    Raises:
        EmbeddedError: another process holds the lock.
    """
    var.mkdir(parents=True, exist_ok=True)
    with _servers_lock(var) as lock:
        # Wait for a command that runs the servers, or for the servers of a killed `up`.
        deadline = time.monotonic() + LOCK_TIMEOUT
        while not _try_lock(lock):
            if time.monotonic() > deadline:
                raise EmbeddedError(f"A server is already running in {var}.")
            time.sleep(0.2)
        yield with_free_ports(var)


def _servers_lock(var: Path) -> TextIO:
    return (var / "servers.lock").open("w")


def _try_lock(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _servers_of_another_process(var: Path, wanted: Set[str]) -> Endpoints:
    """Wait for servers that another process starts. The ports may change while waiting."""
    endpoints = load_or_create(var)
    deadline = time.monotonic() + START_TIMEOUT
    while not endpoints.accept_connections(wanted):
        if time.monotonic() > deadline:
            raise EmbeddedError(f"The embedded servers of {var} accept no connections.")
        time.sleep(0.1)
        endpoints = load_or_create(var)
    if "postgres" in wanted:
        postgres.ensure_database(endpoints)
    return endpoints


def _wait_for(endpoints: Endpoints, wanted: Set[str]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not endpoints.accept_connections(wanted):
        if time.monotonic() > deadline:
            raise EmbeddedError("The embedded servers did not start.")
        time.sleep(0.05)
