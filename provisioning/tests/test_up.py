"""End-to-end tests of `up`: start, restart of killed processes, shutdown."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from devices.registry.tests.waiting import wait_until
from provisioning.tests.running import Up, call, running_up, succeeds
from provisioning.var import BASE


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    with running_up(tmp_path) as running:
        yield running


def test_up_starts_restarts_and_stops_all_processes(up: Up) -> None:
    up.start()
    output = up.output()
    enrollment = re.search(r"enr_[\w-]{43}", output)
    assert enrollment is not None
    assert re.search(r"^postgres \| ", output, re.MULTILINE)
    assert re.search(r"^first_run \| +password", output, re.MULTILINE)

    # A device can register with the printed token and connect.
    device = call(up, "/devices/auto-register", enrollment[0], {"serial_number": "TV-1"})

    def connect() -> None:
        call(up, "/devices/connect", device["token"], {})

    connect()

    # A management command uses the same embedded servers.
    tenant = json.loads(up.manage("create_tenant", "acme", "--owner", "a@b.test", "--json"))
    assert call(up, "/devices", tenant["token"], {"serial_number": "B"})["name"] == "B"

    # Every killed process is restarted, and the device can connect again.
    for roles in (("postgres", "celery"), ("valkey", "beat"), ("granian", "uvicorn")):
        victims = {role: up.children()[role] for role in roles}
        for victim in victims.values():
            victim.kill()
        for role, victim in victims.items():
            wait_until(partial(up.replaced, role, victim))
        wait_until(lambda: succeeds(connect))
        wait_until(up.ready)
        wait_until(up.push_server_ready)

    # A signal stops all processes.
    assert up.stop(signal.SIGINT) < 10
    up.wait_until_all_ended()

    # The next start has all the data and shows no new credentials.
    up.start()
    connect()
    assert up.output().count("These credentials are shown only once") == 1

    # When `up` itself is killed, its children end as well, and it can start again.
    up.stop(signal.SIGKILL)
    up.wait_until_all_ended()
    up.start()
    connect()
    assert up.stop(signal.SIGTERM) < 10


def test_a_port_in_use_is_reported_in_one_line(up: Up) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", up.port))
        listener.listen()
        process = subprocess.run(
            [sys.executable, "manage.py", "up"],
            cwd=BASE,
            env=up.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    assert process.returncode == 1
    assert process.stderr.strip().splitlines() == [
        f"CommandError: Cannot listen on 127.0.0.1:{up.port} (Address already in use)."
        " To use another port: PORT=8001 ./run"
    ]


def test_an_invalid_setting_is_reported_in_one_line() -> None:
    process = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=BASE,
        env={**os.environ, "RENEWAL_WARNING_DAYS": "soon"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.returncode == 1
    assert process.stderr.splitlines() == [
        "check: RENEWAL_WARNING_DAYS must be a whole number, not 'soon'."
    ]


@pytest.mark.parametrize(("arguments", "code"), [(["nonsense"], 2), (["--help"], 0)])
def test_the_run_script_shows_its_usage(arguments: list[str], code: int) -> None:
    process = subprocess.run(
        [sys.executable, "run", *arguments], cwd=BASE, capture_output=True, text=True, check=False
    )

    assert process.returncode == code
    assert "./run test" in process.stdout + process.stderr
