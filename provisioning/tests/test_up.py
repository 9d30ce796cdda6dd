"""`up` for real: everything starts, everything comes back, everything ends."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from devices.tests.waiting import until
from provisioning.embedded.endpoints import known
from provisioning.var import BASE

EMBEDDED = ("DATABASE_URL", "REDIS_URL", "CERTIFICATES_ROOT", "PYTEST_XDIST_WORKER")


class Up:
    """A running `up` in a folder of its own."""

    def __init__(self, var: Path, port: int) -> None:
        self.var, self.port = var, port
        self.lines = ""
        self.process: subprocess.Popen[str] | None = None

    @property
    def environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if k not in EMBEDDED}
        return {**inherited, "VAR_DIR": str(self.var), "PORT": str(self.port)}

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
        try:
            url = f"http://localhost:{self.port}/health/ready"
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
            for name in ("postgres", "valkey", "granian", "celery"):
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

    def leftovers(self) -> list[str]:
        """Command lines that still run over this folder."""
        left = []
        for process in psutil.process_iter(["cmdline", "environ"]):
            words = " ".join(process.info["cmdline"] or [])
            environ = process.info["environ"] or {}
            if str(self.var) in words or environ.get("VAR_DIR") == str(self.var):
                left.append(words)
        return left


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = Up(tmp_path / "var", port)
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


def test_everything_starts_comes_back_and_ends(up: Up) -> None:
    up.start()
    said = up.output()
    enrollment = re.search(r"enr_[\w-]{43}", said)
    assert enrollment is not None
    assert re.search(r"^postgres \| ", said, re.MULTILINE)
    assert re.search(r"^first_run \| +password", said, re.MULTILINE)

    # The printed line registers a device, and it connects.
    box = call(up, "/devices/auto-register", enrollment[0], {"serial_number": "TV-1"})
    call(up, "/devices/connect", box["token"], {})

    # A command runs beside it, over the same servers.
    made = json.loads(
        up.manage("create_tenant", "acme", "--owner", "a@b.test", "--json")
    )
    assert call(up, "/devices", made["token"], {"serial_number": "B"})["name"] == "B"

    # Whatever is killed comes back, and the device goes on.
    for role in ("postgres", "valkey", "granian", "celery", "beat"):
        victim = up.children()[role]
        victim.kill()
        until(partial(up.replaced, role, victim))
        until(lambda: answers(lambda: call(up, "/devices/connect", box["token"], {})))
        until(up.ready)

    # A signal ends all of it.
    assert up.stop(signal.SIGINT) < 10
    until(lambda: up.leftovers() == [])

    # The next start has all the data, and no welcome.
    up.start()
    call(up, "/devices/connect", box["token"], {})
    assert up.output().count("This is shown once") == 1

    # Killed itself, it leaves nothing behind and starts again.
    up.stop(signal.SIGKILL)
    until(lambda: up.leftovers() == [], within=15)
    up.start()
    call(up, "/devices/connect", box["token"], {})
    assert up.stop(signal.SIGTERM) < 10


def test_a_port_in_use_is_one_clear_sentence(up: Up) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", up.port))
        taken.listen()
        refused = subprocess.run(
            [sys.executable, "manage.py", "up"],
            cwd=BASE,
            env=up.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    assert refused.returncode == 1
    assert refused.stderr.strip().splitlines() == [
        f"CommandError: 127.0.0.1:{up.port} cannot be used "
        "(Address already in use): PORT=8001 ./run takes another port."
    ]


def test_a_setting_that_is_wrong_is_one_clear_sentence() -> None:
    refused = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=BASE,
        env={**os.environ, "RENEWAL_WARNING_DAYS": "soon"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        "check: RENEWAL_WARNING_DAYS must be a whole number, not 'soon'."
    ]


@pytest.mark.parametrize(("arguments", "code"), [(["nonsense"], 2), (["--help"], 0)])
def test_the_script_says_how_it_is_used(arguments: list[str], code: int) -> None:
    done = subprocess.run(
        [sys.executable, "run", *arguments],
        cwd=BASE,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == code
    assert "./run test" in done.stdout + done.stderr
