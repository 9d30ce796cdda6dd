"""A running `up` process with its own data folder, for end-to-end tests."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from devices.registry.tests.waiting import wait_until
from provisioning.embedded.endpoints import Endpoints, load_or_create
from provisioning.tests.database_copies import copy_database
from provisioning.var import BASE

TEST_VARIABLES = ("DATABASE_URL", "REDIS_URL", "CERTIFICATES_ROOT", "PYTEST_XDIST_WORKER")


class Up:
    """An `up` process with its own data folder and ports."""

    def __init__(self, var: Path, port: int, stream_port: int) -> None:
        self.var, self.port, self.stream_port = var, port, stream_port
        self.process: subprocess.Popen[str] | None = None

    @property
    def environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if k not in TEST_VARIABLES}
        return {
            **inherited,
            "VAR_DIR": str(self.var),
            "PORT": str(self.port),
            "STREAM_PORT": str(self.stream_port),
        }

    def start(self) -> None:
        with (self.var.parent / "up.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up"],
                cwd=BASE,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        wait_until(self.ready, timeout=90)

    def output(self) -> str:
        return (self.var.parent / "up.log").read_text()

    def manage(self, *command: str) -> str:
        """Run a management command while the server runs. Return the command's output."""
        return subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=BASE,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def ready(self) -> bool:
        """Return True if the web server is ready."""
        assert self.process is not None
        assert self.process.poll() is None, self.output()
        return self._is_ok(f"http://localhost:{self.port}/health/ready")

    def push_server_ready(self) -> bool:
        return self._is_ok(f"http://localhost:{self.stream_port}/health/ready")

    def _is_ok(self, url: str) -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def children(self) -> dict[str, psutil.Process]:
        """Return the child processes by role."""
        assert self.process is not None
        children = {}
        for child in psutil.Process(self.process.pid).children():
            command = ""
            with suppress(psutil.NoSuchProcess):  # also raised for a zombie
                command = " ".join(child.cmdline())
            for name in ("postgres", "valkey", "granian", "uvicorn", "celery"):
                if name in command:
                    role = "beat" if " beat " in command else name
                    children[role] = child
        return children

    def replaced(self, role: str, victim: psutil.Process) -> bool:
        """Return True if another process has this role now."""
        return self.children().get(role) not in (None, victim)

    def stop(self, number: signal.Signals) -> float:
        """Send a signal to `up`. Return the seconds until the process has ended."""
        assert self.process is not None
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout=30)
        return time.monotonic() - started

    def wait_until_all_ended(self) -> None:
        """Wait until all child processes have ended. This is slow on a busy machine."""
        deadline = time.monotonic() + 90
        while leftovers := self._leftovers():
            assert time.monotonic() < deadline, leftovers
            time.sleep(0.1)

    def _leftovers(self) -> list[str]:
        """Return state and command line of each process that uses the data folder."""
        leftovers = []
        for process in psutil.process_iter(["cmdline", "environ", "status"]):
            command = " ".join(process.info["cmdline"] or [])
            environ = process.info["environ"] or {}
            if str(self.var) in command or environ.get("VAR_DIR") == str(self.var):
                leftovers.append(f"{process.info['status']} {command}")
        return leftovers


def free_ports(count: int) -> list[int]:
    """Return ports on which nothing listens now."""
    with ExitStack() as probes:
        sockets = [probes.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in sockets]


@contextmanager
def running_up(folder: Path, migrated: Endpoints | None = None) -> Iterator[Up]:
    """Yield an object with which the test starts `up`. Stop `up` and delete its data at the end.

    Args:
        migrated: stopped servers with a migrated database, which is copied. By default, `up`
            creates its database.
    """
    up = Up(folder / "var", *free_ports(2))
    if migrated is not None:
        copy_database(migrated, up.var)
    yield up
    if up.process is not None and up.process.poll() is None:
        up.stop(signal.SIGTERM)
    if (up.var / "embedded.json").exists():
        shutil.rmtree(load_or_create(up.var).folder, ignore_errors=True)


def call(up: Up, path: str, token: str, body: Any) -> dict[str, Any]:
    """Send a POST request with a JSON body and return the JSON response.

    Raises:
        OSError: the response has an error status.
    """
    request = urllib.request.Request(
        f"http://localhost:{up.port}{path}",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        data: dict[str, Any] = json.load(response)
        return data


def succeeds(operation: Callable[[], object]) -> bool:
    """Run the operation. Return False if it raises OSError, otherwise True."""
    try:
        operation()
    except OSError:
        return False
    return True
