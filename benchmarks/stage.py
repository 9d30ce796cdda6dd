"""What the benchmarks stand on: servers of their own, with durable settings, and Django."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from provisioning.embedded import endpoints, servers
from provisioning.processes import Program, start, stop
from provisioning.var import BASE

VAR = BASE / "var" / "bench"


@contextmanager
def staged() -> Iterator[None]:
    """PostgreSQL and Valkey as `up` runs them, and Django set up."""
    os.environ["VAR_DIR"] = str(VAR)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "provisioning.settings")
    os.environ["LOG_LEVEL"] = "WARNING"
    with servers.running(VAR) as at:
        os.environ.update({**at.environment, **_named_outside()})
        import django

        django.setup()
        yield


@contextmanager
def web(application: str, port: int) -> Iterator[None]:
    """The web server that `up` starts, serving one application."""
    scripts = Path(sys.executable).parent
    program = Program(
        name="web",
        command=(
            *(str(scripts / "granian"), "--no-ws", "--port", str(port)),
            *("--workers", "2", "--log-level", "error"),
            *("--interface", "rsgi" if application.endswith(":app") else "wsgi"),
            *(() if application.endswith(":app") else ("--blocking-threads", "4")),
            application,
        ),
    )
    child = start(program, quiet=True)
    try:
        deadline = time.monotonic() + 30
        while not endpoints.answers(port):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{application} does not answer.")
            time.sleep(0.1)
        time.sleep(1)
        yield
    finally:
        stop([(program, child)])


def _named_outside() -> dict[str, str]:
    named = ("DATABASE_URL", "REDIS_URL")
    return {name: os.environ[name] for name in named if name in os.environ}


def fresh() -> None:
    """An empty database and no certificate files."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA public CASCADE")
        cursor.execute("CREATE SCHEMA public")
    connection.close()
    shutil.rmtree(VAR / "certificates", ignore_errors=True)
    subprocess.run(
        [sys.executable, str(BASE / "manage.py"), "migrate", "--no-input", "-v", "0"],
        check=True,
    )
