"""PostgreSQL, Valkey and server processes of their own, for tests that break the servers."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

from devices.registry.tests.waiting import wait_until
from provisioning.embedded import endpoints, postgres, servers
from provisioning.embedded.endpoints import Endpoints
from provisioning.processes import Program, start, stop
from provisioning.tests.database_copies import copy_database
from provisioning.tests.running import TEST_VARIABLES, free_ports
from provisioning.var import BASE


@dataclass(frozen=True, slots=True)
class Response:
    """A response with its body decoded from JSON, if it is JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any
    seconds: float


class OwnServers:
    """The servers of one test module. They use a data folder of their own.

    Args:
        original: the stopped servers whose data is copied.
    """

    def __init__(self, var: Path, original: Endpoints | None = None) -> None:
        self.var = var
        if original is not None:
            copy_database(original, var)
        self.endpoints: Endpoints = endpoints.with_free_ports(var)
        self.programs = {
            program.name: program for program in servers.programs(self.endpoints, durable=True)
        }
        self.running: dict[str, tuple[Program, subprocess.Popen[str]]] = {}
        self.logs = var / "logs"
        self.logs.mkdir()

    @property
    def environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if k not in TEST_VARIABLES}
        return {**inherited, **self.endpoints.environment, "VAR_DIR": str(self.var)}

    def start(self, name: str) -> None:
        """Start PostgreSQL or Valkey and wait until it accepts connections."""
        program = self.programs[name]
        self.running[name] = (program, start(program, quiet=True))
        assert program.ready is not None
        wait_until(program.ready, timeout=60)
        if name == "postgres":
            postgres.ensure_database(self.endpoints)

    def pid(self, name: str) -> int:
        return self.running[name][1].pid

    def kill(self, name: str) -> None:
        _, child = self.running.pop(name)
        child.kill()
        child.wait()

    def manage(self, *command: str) -> Any:
        """Run a management command that prints JSON."""
        result = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=BASE,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(result.stdout) if "--json" in command else result.stdout

    def as_superuser(self, *statements: str) -> list[Any]:
        """Run statements as PostgreSQL's superuser. Return the rows of the last one."""
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=self.endpoints.postgres_port,
            user="postgres",
            password=self.endpoints.superuser_password,
            dbname="provisioning",
        )
        connection.autocommit = True
        with closing(connection), connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def serving(self, role: str = "web", prefix: str = "", **environment: str) -> Iterator[int]:
        """Run a role on a free port. Yield the port.

        Args:
            prefix: a command that runs the process, such as `faketime +3h`.
        """
        (port,) = free_ports(1)
        with (self.logs / role).open("a") as log:
            process = subprocess.Popen(
                [*prefix.split(), sys.executable, "manage.py", "serve", role, "--port", str(port)],
                cwd=BASE,
                env={**self.environment, "PORT": str(port), **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            if role in ("web", "stream"):
                wait_until(
                    lambda: endpoints.accepts_connections(port) or process.poll() is not None,
                    timeout=90,
                )
                assert process.poll() is None, self.log(role)
            yield port
        finally:
            if prefix:  # the command does not pass signals on to the role
                os.killpg(process.pid, signal.SIGTERM)
            else:
                process.terminate()
            process.wait(timeout=60)

    def log(self, role: str) -> str:
        return (self.logs / role).read_text()

    def stop(self) -> None:
        stop(self.running.values())

    def delete(self) -> None:
        """Delete the data, which may be outside of the folder of the test run."""
        shutil.rmtree(self.endpoints.folder, ignore_errors=True)


def migrated_database(var: Path) -> Endpoints:
    """Return stopped servers with a migrated database, which `copy_database` copies.

    They are kept until the code changes, and shared by the processes of a test run.
    """
    code = hashlib.sha256()
    for file in sorted([*BASE.rglob("*.py"), *BASE.glob("requirements*.txt")]):
        if not file.is_relative_to(BASE / ".venv"):
            code.update(file.read_bytes())
    done = var / "migrated"
    with endpoints.locked(var.with_suffix(".lock")):
        if done.exists() and done.read_text() == code.hexdigest():
            return endpoints.load_or_create(var)
        if var.exists():
            shutil.rmtree(endpoints.load_or_create(var).folder, ignore_errors=True)
            shutil.rmtree(var, ignore_errors=True)
        own = OwnServers(var)
        try:
            own.start("postgres")
            own.start("valkey")
            own.manage("migrate", "--no-input", "--verbosity=0")
        finally:
            own.stop()
        done.write_text(code.hexdigest())
        return own.endpoints


@contextmanager
def own_servers(folder: Path, migrated: Endpoints) -> Iterator[OwnServers]:
    """Yield running servers with a migrated database."""
    own = OwnServers(folder / "var", migrated)
    try:
        own.start("postgres")
        own.start("valkey")
        yield own
    finally:
        own.stop()
        own.delete()


def request(
    port: int,
    path: str,
    token: str = "",
    body: Any = None,
    *,
    method: str | None = None,
    cookie: str = "",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Send a request and return its response, whatever its status.

    Args:
        body: sent as it is if it is bytes, else as JSON.
    """
    headers = {"Content-Type": "application/json", **(headers or {})}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if cookie:
        headers["Cookie"] = cookie
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    sent = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data=data, headers=headers, method=method
    )
    started = time.monotonic()
    opener = urllib.request.build_opener(_KeepRedirects)
    try:
        answer = opener.open(sent, timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        content = answer.read()
        is_json = "json" in answer.headers.get("Content-Type", "")
        return Response(
            answer.status,
            answer.headers,
            json.loads(content) if is_json and content else content,
            time.monotonic() - started,
        )


class _KeepRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        return None
