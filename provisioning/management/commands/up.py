"""Everything on one machine, in one terminal: database, broker, web, worker, beat."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from provisioning.embedded import endpoints, postgres, servers
from provisioning.embedded.endpoints import EmbeddedError, Endpoints
from provisioning.processes import Program, Supervisor
from provisioning.var import BASE


class Command(BaseCommand):
    help = "Run everything on this machine; Ctrl-C ends all of it."
    requires_system_checks = ()  # they want a database, which does not run yet

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=settings.PORT)

    def handle(self, *args: Any, port: int, **options: Any) -> None:
        _refuse_a_taken_port(port)
        supervisor = Supervisor(lambda line: print(line, flush=True))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: supervisor.end())
        os.environ["PORT"] = str(port)
        try:
            with _servers(supervisor):
                if supervisor.ending:
                    return
                _once("migrate", "--no-input", "--verbosity=1", supervisor=supervisor)
                _once("first_run", supervisor=supervisor)
                for program in _programs(port):
                    supervisor.keep(program)
                supervisor.say("up", f"The portal is at {settings.PUBLIC_URL}/admin/")
                supervisor.watch()
        except (EmbeddedError, TimeoutError) as error:
            raise CommandError(str(error)) from error
        finally:
            supervisor.stop()


@contextmanager
def _servers(supervisor: Supervisor) -> Iterator[None]:
    """The embedded servers under the supervisor, unless real ones are named."""
    if not endpoints.missing(_named_outside()):
        yield
        return
    with servers.owned(settings.VAR) as at:
        os.environ.update({**at.environment, **_named_outside()})
        for program in _wanted(at):
            supervisor.keep(program)
        if not supervisor.ending and "DATABASE_URL" not in _named_outside():
            postgres.ensure_database(at)
        try:
            yield
        finally:
            supervisor.stop()


def _wanted(at: Endpoints) -> list[Program]:
    names = {"postgres": "DATABASE_URL", "valkey": "REDIS_URL"}
    return [
        program
        for program in servers.programs(at)
        if names[program.name] not in _named_outside()
    ]


def _named_outside() -> dict[str, str]:
    return {
        name: value for name, value in _AT_START.items() if name in _SERVER_VARIABLES
    }


_SERVER_VARIABLES = ("DATABASE_URL", "REDIS_URL")
_AT_START = dict(os.environ)


def _programs(port: int) -> list[Program]:
    metrics = Path(settings.VAR) / "metrics"
    shutil.rmtree(metrics, ignore_errors=True)
    metrics.mkdir(parents=True)
    scripts = Path(sys.executable).parent
    celery = (str(scripts / "celery"), "--app", "provisioning", "--quiet")
    as_root = {"PYTHONWARNINGS": "ignore:You're running the worker with superuser"}
    return [
        Program(
            name="web",
            command=(
                *(str(scripts / "granian"), "--interface", "wsgi"),
                *("--host", settings.HOST, "--port", str(port)),
                *("--workers", str(settings.WEB_WORKERS)),
                *("--blocking-threads", str(settings.WEB_THREADS)),
                *("--no-ws", "--respawn-failed-workers", "--log-level", "warning"),
                *("--workers-kill-timeout", "4"),
                "provisioning.wsgi:application",
            ),
            environment={"PROMETHEUS_MULTIPROC_DIR": str(metrics)},
        ),
        Program(
            name="worker",
            command=(
                *(*celery, "worker", "--queues", "prompt,bulk"),
                *("--concurrency", str(settings.WORKER_PROCESSES)),
                *("--loglevel", "warning", "--without-gossip", "--without-mingle"),
            ),
            orphan_signal=signal.SIGQUIT,  # without its broker a warm end never comes
            environment=as_root,
        ),
        Program(
            name="beat",
            command=(*celery, "beat", "--loglevel", "warning", "--pidfile="),
        ),
    ]


def _once(*command: str, supervisor: Supervisor) -> None:
    """Run a command to its end, its lines under its name."""
    child = subprocess.Popen(
        (sys.executable, str(BASE / "manage.py"), *command),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in child.stdout or ():
        supervisor.say(command[0], line)
    if child.wait() != 0 and not supervisor.ending:
        raise CommandError(f"{command[0]} failed; the lines above say why.")


def _refuse_a_taken_port(port: int) -> None:
    if not 0 < port < 65536:
        raise CommandError(f"{port} is not a port.", returncode=2)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.HOST, port))
        except OSError as error:
            raise CommandError(
                f"Port {port} cannot be used ({error.strerror}): PORT=8001 ./run "
                "takes another."
            ) from error
