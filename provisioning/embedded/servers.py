"""Who runs the embedded servers: `up` for as long as it lives, or a command for itself.

Whoever holds `servers.lock` runs them. Everybody who uses them for a command holds
`users.lock` shared, so that the command that runs them ends them after the others.
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
    known,
    with_free_ports,
)
from provisioning.processes import Program, start, stop

START_TIMEOUT = 60.0  # seconds
BOTH = frozenset({"postgres", "valkey"})


def programs(
    at: Endpoints, *, wanted: Set[str] = BOTH, durable: bool = True
) -> list[Program]:
    """PostgreSQL and Valkey as programs to run.

    Args:
        wanted: which of the two; the other one is a real server elsewhere.
        durable: keep every committed row over a power cut; tests do without.
    """
    makers = {"postgres": postgres.program, "valkey": valkey.program}
    return [
        make(at, durable=durable) for name, make in makers.items() if name in wanted
    ]


@contextmanager
def running(
    var: Path, *, wanted: Set[str] = BOTH, durable: bool = True
) -> Iterator[Endpoints]:
    """Have the wanted servers running inside the block, whoever runs them."""
    var.mkdir(parents=True, exist_ok=True)
    with (var / "users.lock").open("w") as users, _servers_lock(var) as own:
        fcntl.flock(users, fcntl.LOCK_SH)
        if not _taken(own):
            yield _somebody_elses(var, wanted)
            return
        at = with_free_ports(var)
        children = [
            (program, start(program, quiet=True))
            for program in programs(at, wanted=wanted, durable=durable)
        ]
        try:
            _wait_for(at, wanted)
            if "postgres" in wanted:
                postgres.ensure_database(at)
            yield at
        finally:
            fcntl.flock(users, fcntl.LOCK_UN)
            fcntl.flock(users, fcntl.LOCK_EX)  # until the last other user is gone
            stop(children)


@contextmanager
def owned(var: Path) -> Iterator[Endpoints]:
    """Hold the right to run this folder's servers, for `up`.

    Raises:
        EmbeddedError: another `up` holds it.
    """
    var.mkdir(parents=True, exist_ok=True)
    with _servers_lock(var) as own:
        deadline = time.monotonic() + 15  # a command's own servers, or a killed `up`
        while not _taken(own):
            if time.monotonic() > deadline:
                raise EmbeddedError("The server of this folder is running already.")
            time.sleep(0.2)
        yield with_free_ports(var)


def _servers_lock(var: Path) -> TextIO:
    return (var / "servers.lock").open("w")


def _taken(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _somebody_elses(var: Path, wanted: Set[str]) -> Endpoints:
    """The servers that another process runs; its choice of ports may still change."""
    at = known(var)
    deadline = time.monotonic() + START_TIMEOUT
    while not at.answer(wanted):
        if time.monotonic() > deadline:
            raise EmbeddedError("The embedded servers of this folder do not answer.")
        time.sleep(0.1)
        at = known(var)
    if "postgres" in wanted:
        postgres.ensure_database(at)
    return at


def _wait_for(at: Endpoints, wanted: Set[str]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not at.answer(wanted):
        if time.monotonic() > deadline:
            raise EmbeddedError("The embedded servers did not start.")
        time.sleep(0.05)
