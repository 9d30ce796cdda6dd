"""Start the servers of the benchmarks, with durable settings, and set up Django."""

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
def running_servers() -> Iterator[None]:
    """Start PostgreSQL and Valkey as `up` does, and set up Django."""
    os.environ["VAR_DIR"] = str(VAR)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "provisioning.settings")
    os.environ["LOG_LEVEL"] = "WARNING"
    with servers.running(VAR) as urls:
        os.environ.update({**urls.environment, **_external_servers()})
        import django

        django.setup()
        yield


@contextmanager
def web(application: str, port: int) -> Iterator[None]:
    """Run the web server that `up` starts.

    Args:
        application: The import path of the WSGI application, or of the RSGI application
            if its name is `app`.
        port: The port on localhost.
    """
    scripts = Path(sys.executable).parent
    program = Program(
        name="web",
        command=(
            str(scripts / "granian"),
            "--no-ws",
            "--port",
            str(port),
            "--workers",
            "2",
            "--log-level",
            "error",
            "--interface",
            "rsgi" if application.endswith(":app") else "wsgi",
            *(() if application.endswith(":app") else ("--blocking-threads", "4")),
            application,
        ),
    )
    process = start(program, quiet=True)
    try:
        deadline = time.monotonic() + 30
        while not endpoints.accepts_connections(port):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{application} does not respond.")
            time.sleep(0.1)
        time.sleep(1)
        yield
    finally:
        stop([(program, process)])


def _external_servers() -> dict[str, str]:
    """Return the URLs of servers from the environment. They replace the embedded servers."""
    variables = ("DATABASE_URL", "REDIS_URL")
    return {name: os.environ[name] for name in variables if name in os.environ}


def reset_data() -> None:
    """Empty the database and delete all certificate files."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA public CASCADE")
        cursor.execute("CREATE SCHEMA public")
    connection.close()
    shutil.rmtree(VAR / "certificates", ignore_errors=True)
    subprocess.run(
        [sys.executable, str(BASE / "manage.py"), "migrate", "--no-input", "-v", "0"], check=True
    )
