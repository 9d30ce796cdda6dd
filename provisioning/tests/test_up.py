"""`up` for real: everything starts, everything comes back, everything ends."""

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

from devices.registry.tests.waiting import until
from provisioning.tests.running import Up, answers, call, running_up
from provisioning.var import BASE


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    with running_up(tmp_path) as running:
        yield running


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
    for role in ("postgres", "valkey", "granian", "uvicorn", "celery", "beat"):
        victim = up.children()[role]
        victim.kill()
        until(partial(up.replaced, role, victim))
        until(lambda: answers(lambda: call(up, "/devices/connect", box["token"], {})))
        until(up.ready)
        until(up.pushes)

    # A signal ends all of it.
    assert up.stop(signal.SIGINT) < 10
    up.leaves_nothing_behind()

    # The next start has all the data, and no welcome.
    up.start()
    call(up, "/devices/connect", box["token"], {})
    assert up.output().count("This is shown once") == 1

    # Killed itself, it leaves nothing behind and starts again.
    up.stop(signal.SIGKILL)
    up.leaves_nothing_behind()
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
