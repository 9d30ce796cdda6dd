"""A running `up`, for tests of the whole."""

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

from devices.registry.tests.waiting import until
from provisioning.embedded.endpoints import known
from provisioning.var import BASE

EMBEDDED = ("DATABASE_URL", "REDIS_URL", "CERTIFICATES_ROOT", "PYTEST_XDIST_WORKER")


class Up:
    """A running `up` in a folder of its own."""

    def __init__(self, var: Path, port: int, stream_port: int) -> None:
        self.var, self.port, self.stream_port = var, port, stream_port
        self.lines = ""
        self.process: subprocess.Popen[str] | None = None

    @property
    def environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if k not in EMBEDDED}
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
        until(lambda: self.ready(), within=90)

    def output(self) -> str:
        return (self.var.parent / "up.log").read_text()

    def manage(self, *command: str) -> str:
        return subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=BASE,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.output()
        return self._answers(f"http://localhost:{self.port}/health/ready")

    def pushes(self) -> bool:
        """Whether the push channel answers."""
        return self._answers(f"http://localhost:{self.stream_port}/health/ready")

    def _answers(self, url: str) -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def children(self) -> dict[str, psutil.Process]:
        assert self.process is not None
        found = {}
        for child in psutil.Process(self.process.pid).children():
            words = ""
            with suppress(psutil.NoSuchProcess):  # a zombie is one of these
                words = " ".join(child.cmdline())
            for name in ("postgres", "valkey", "granian", "uvicorn", "celery"):
                if name in words:
                    role = "beat" if " beat " in words else name
                    found[role] = child
        return found

    def replaced(self, role: str, victim: psutil.Process) -> bool:
        return self.children().get(role) not in (None, victim)

    def stop(self, number: signal.Signals) -> float:
        """Send a signal; the seconds until it has ended."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout=30)
        return time.monotonic() - begun

    def leaves_nothing_behind(self) -> None:
        """Wait until everything has ended; on a busy machine that may take a while."""
        deadline = time.monotonic() + 90
        while left := self._leftovers():
            assert time.monotonic() < deadline, left
            time.sleep(0.1)

    def _leftovers(self) -> list[str]:
        """What still runs over this folder: state and command line of each."""
        left = []
        for process in psutil.process_iter(["cmdline", "environ", "status"]):
            words = " ".join(process.info["cmdline"] or [])
            environ = process.info["environ"] or {}
            if str(self.var) in words or environ.get("VAR_DIR") == str(self.var):
                left.append(f"{process.info['status']} {words}")
        return left


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens now."""
    with ExitStack() as probes:
        sockets = [probes.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in sockets]


@contextmanager
def running_up(folder: Path) -> Iterator[Up]:
    """An `up` that may be started, over data of its own; it is gone afterwards."""
    running = Up(folder / "var", *free_ports(2))
    yield running
    if running.process is not None and running.process.poll() is None:
        running.stop(signal.SIGTERM)
    if (running.var / "embedded.json").exists():
        shutil.rmtree(known(running.var).folder, ignore_errors=True)


def call(up: Up, path: str, token: str, body: Any) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://localhost:{up.port}{path}",
        data=json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        told: dict[str, Any] = json.load(answer)
        return told


def answers(act: Callable[[], object]) -> bool:
    try:
        act()
    except OSError:
        return False
    return True
