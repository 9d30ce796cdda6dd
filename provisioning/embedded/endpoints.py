"""Where the embedded servers of one folder are: ports, passwords, data."""

import fcntl
import hashlib
import json
import os
import secrets
import socket
import stat
import time
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

OUTSIDE = Path("/var/lib/provisioning")
ORPHANS_END_WITHIN = 10.0  # seconds; the kernel ends them when their parent is killed


class EmbeddedError(RuntimeError):
    """The embedded servers cannot be started; the text is for the operator."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the embedded servers of one folder are, and their passwords."""

    folder: str
    postgres_port: int
    postgres_password: str  # of the application's role
    superuser_password: str  # of `postgres`, which only makes that role
    valkey_port: int
    valkey_password: str

    def answer(self, wanted: Set[str]) -> bool:
        """Whether these of the two servers accept connections."""
        ports = {"postgres": self.postgres_port, "valkey": self.valkey_port}
        return all(answers(ports[server]) for server in wanted)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "DATABASE_URL": f"postgres://provisioning:{self.postgres_password}"
            f"@127.0.0.1:{self.postgres_port}/provisioning",
            "REDIS_URL": f"redis://:{self.valkey_password}"
            f"@127.0.0.1:{self.valkey_port}/0",
        }


def missing_servers(environment: Mapping[str, str]) -> set[str]:
    """Which servers have no address of their own, so that the embedded ones are used."""
    variables = {"postgres": "DATABASE_URL", "valkey": "REDIS_URL"}
    return {
        server
        for server, name in variables.items()
        if not {name, f"{name}_FILE"} & set(environment)
    }


def known(var: Path) -> Endpoints:
    """The servers of this folder, made up at the first call."""
    path = var / "embedded.json"
    if path.exists():
        return _read(path)
    var.mkdir(parents=True, exist_ok=True)
    with locked(var / "embedded.lock"):
        if not path.exists():
            fresh = Endpoints(
                folder=str(_reachable_folder(var)),
                postgres_port=_free_port(),
                postgres_password=secrets.token_urlsafe(24),
                superuser_password=secrets.token_urlsafe(24),
                valkey_port=_free_port(),
                valkey_password=secrets.token_urlsafe(24),
            )
            write_private(path, json.dumps(asdict(fresh)))
        return _read(path)


def with_free_ports(var: Path) -> Endpoints:
    """The same, for whoever is about to start them: a port that a stranger took is given up."""
    at = known(var)
    deadline = time.monotonic() + ORPHANS_END_WITHIN
    while answers(at.postgres_port) or answers(at.valkey_port):
        if time.monotonic() > deadline:
            at = replace(at, postgres_port=_free_port(), valkey_port=_free_port())
            write_private(var / "embedded.json", json.dumps(asdict(at)))
            break
        time.sleep(0.1)
    return at


def answers(port: int) -> bool:
    """Whether something accepts connections on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_private(path: Path, content: str) -> None:
    """Write a file of mode 0600, whole or not at all."""
    making = path.with_name(f"{path.name}.{os.getpid()}.making")
    descriptor = os.open(making, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    making.rename(path)


def open_to_all(path: Path) -> bool:
    """Whether any user can reach into this folder."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (path, *path.parents))


def _read(path: Path) -> Endpoints:
    return Endpoints(**json.loads(path.read_text(encoding="utf-8")))


def _reachable_folder(var: Path) -> Path:
    """`var` itself or, when root's unprivileged user cannot get there, a folder outside.

    A new one each time: passwords are kept in `var`, so without it old data is shut.
    """
    var = var.resolve()
    if os.geteuid() != 0 or open_to_all(var):
        folder = var
    else:
        key = hashlib.sha256(str(var).encode()).hexdigest()[:16]
        folder = OUTSIDE / f"{key}-{secrets.token_hex(4)}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
