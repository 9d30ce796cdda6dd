"""Ports, passwords and data folder of the embedded servers."""

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

DATA_ROOT = Path("/var/lib/provisioning")  # used if the servers' user cannot reach `VAR_DIR`
ORPHAN_TIMEOUT = 10.0  # seconds until servers whose parent was killed have ended


class EmbeddedError(RuntimeError):
    """The embedded servers cannot be started. The message is for the operator."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Ports, passwords and data folder of the embedded servers of one `VAR_DIR`."""

    folder: str
    postgres_port: int
    postgres_password: str  # of the application's role
    superuser_password: str  # of `postgres`, used only to create that role
    valkey_port: int
    valkey_password: str

    def accept_connections(self, wanted: Set[str]) -> bool:
        """Return True if the wanted servers accept connections."""
        ports = {"postgres": self.postgres_port, "valkey": self.valkey_port}
        return all(accepts_connections(ports[server]) for server in wanted)

    @property
    def environment(self) -> dict[str, str]:
        """`DATABASE_URL` and `REDIS_URL` of the embedded servers."""
        return {
            "DATABASE_URL": f"postgres://provisioning:{self.postgres_password}"
            f"@127.0.0.1:{self.postgres_port}/provisioning",
            "REDIS_URL": f"redis://:{self.valkey_password}@127.0.0.1:{self.valkey_port}/0",
        }


def missing_servers(environment: Mapping[str, str]) -> set[str]:
    """Return the servers without a configured URL. Embedded servers are used instead.

    Returns:
        A subset of `postgres` and `valkey`.
    """
    variables = {"postgres": "DATABASE_URL", "valkey": "REDIS_URL"}
    return {
        server
        for server, name in variables.items()
        if not {name, f"{name}_FILE"} & set(environment)
    }


def load_or_create(var: Path) -> Endpoints:
    """Return the endpoints of a data folder. The first call creates the endpoints."""
    path = var / "embedded.json"
    if path.exists():
        return _load(path)
    var.mkdir(parents=True, exist_ok=True)
    with locked(var / "embedded.lock"):
        if not path.exists():
            endpoints = Endpoints(
                folder=str(_reachable_folder(var)),
                postgres_port=_free_port(),
                postgres_password=secrets.token_urlsafe(24),
                superuser_password=secrets.token_urlsafe(24),
                valkey_port=_free_port(),
                valkey_password=secrets.token_urlsafe(24),
            )
            write_private(path, json.dumps(asdict(endpoints)))
        return _load(path)


def with_free_ports(var: Path) -> Endpoints:
    """Return the endpoints for a process that is about to start the servers.

    If another program uses one of the ports, new ports are chosen and stored.
    """
    endpoints = load_or_create(var)
    deadline = time.monotonic() + ORPHAN_TIMEOUT
    while accepts_connections(endpoints.postgres_port) or accepts_connections(
        endpoints.valkey_port
    ):
        if time.monotonic() > deadline:
            endpoints = replace(endpoints, postgres_port=_free_port(), valkey_port=_free_port())
            write_private(var / "embedded.json", json.dumps(asdict(endpoints)))
            break
        time.sleep(0.1)
    return endpoints


def accepts_connections(port: int) -> bool:
    """Return True if something accepts connections on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file while the `with` block runs."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_private(path: Path, content: str) -> None:
    """Write a file with mode 0600, atomically."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.making")
    descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(path)


def is_traversable_by_all(path: Path) -> bool:
    """Return True if every user can traverse this folder and its parents."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (path, *path.parents))


def _load(path: Path) -> Endpoints:
    return Endpoints(**json.loads(path.read_text(encoding="utf-8")))


def _reachable_folder(var: Path) -> Path:
    """Return a folder for the servers' data that their user can reach.

    This is `var` itself, unless root runs the servers as an unprivileged user that cannot
    traverse `var`. In that case, a new folder under `DATA_ROOT` is returned. An existing
    folder is never used again, because its passwords were stored in `var` and may have been
    deleted with `var`.
    """
    var = var.resolve()
    if os.geteuid() != 0 or is_traversable_by_all(var):
        folder = var
    else:
        key = hashlib.sha256(str(var).encode()).hexdigest()[:16]
        folder = DATA_ROOT / f"{key}-{secrets.token_hex(4)}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
