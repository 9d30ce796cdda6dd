"""Everything on one machine, in one terminal: servers of data, web, push channel, worker, beat."""

import errno
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
from provisioning.embedded.endpoints import EmbeddedError
from provisioning.processes import Program, Supervisor
from provisioning.roles import command_of
from provisioning.var import BASE


class Command(BaseCommand):
    help = "Run everything on this machine; Ctrl-C ends all of it."
    requires_system_checks = ()  # they want a database, which does not run yet

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=settings.PORT)

    def handle(self, *args: Any, port: int, **options: Any) -> None:
        stream_port = _stream_port(port)
        _refuse_a_taken_port(port)
        _refuse_a_taken_port(stream_port)
        supervisor = Supervisor(lambda line: print(line, flush=True))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: supervisor.end())
        os.environ["PORT"] = str(port)
        os.environ["STREAM_PORT"] = str(stream_port)
        try:
            with _servers(supervisor):
                if supervisor.ending:
                    return
                _once("migrate", "--no-input", "--verbosity=0", supervisor=supervisor)
                _once("first_run", supervisor=supervisor)
                for program in _programs(port, stream_port):
                    supervisor.keep(program)
                address = os.environ.get("PUBLIC_URL", f"http://localhost:{port}")
                # What commands beside it write into certificates is this server's.
                (settings.VAR / "public_url").write_text(address, encoding="utf-8")
                supervisor.say("up", f"The portal is at {address.rstrip('/')}/admin/")
                supervisor.watch()
        except (EmbeddedError, TimeoutError) as error:
            raise CommandError(str(error)) from error
        finally:
            supervisor.stop()


@contextmanager
def _servers(supervisor: Supervisor) -> Iterator[None]:
    """The embedded servers under the supervisor, as far as no real ones are named."""
    wanted = endpoints.missing_servers(os.environ)
    if not wanted:
        yield
        return
    with servers.owned(settings.VAR) as at:
        for name, value in at.environment.items():
            if f"{name}_FILE" not in os.environ:
                os.environ.setdefault(name, value)
        for program in servers.programs(at, wanted=wanted):
            supervisor.keep(program)
        if "postgres" in wanted and not supervisor.ending:
            postgres.ensure_database(at)
        try:
            yield
        finally:
            supervisor.stop()


def _programs(port: int, stream_port: int) -> list[Program]:
    metrics = Path(settings.VAR) / "metrics"
    shutil.rmtree(metrics, ignore_errors=True)
    metrics.mkdir(parents=True)
    as_root = {"PYTHONWARNINGS": "ignore:You're running the worker with superuser"}
    return [
        Program(
            name="web",
            command=command_of("web", port=port),
            environment={"PROMETHEUS_MULTIPROC_DIR": str(metrics)},
        ),
        Program(
            name="stream",
            command=command_of("stream", port=stream_port),
            environment={"PROMETHEUS_MULTIPROC_DIR": str(metrics)},
        ),
        Program(
            name="worker",
            command=command_of("worker", port=port),
            orphan_signal=signal.SIGQUIT,  # without its broker a warm end never comes
            environment=as_root,
        ),
        Program(name="beat", command=command_of("beat", port=port)),
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


def _stream_port(port: int) -> int:
    """Where the push channel listens: as the settings say, or beside another port."""
    if port == settings.PORT or "STREAM_PORT" in os.environ:
        return settings.STREAM_PORT
    return port + settings.STREAM_PORT - settings.PORT


def _refuse_a_taken_port(port: int) -> None:
    if not 0 < port < 65536:
        raise CommandError(f"{port} is not a port.", returncode=2)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.HOST, port))
        except OSError as error:
            where = f"{settings.HOST}:{port}"
            mend = ": PORT=8001 ./run takes another port"
            if error.errno != errno.EADDRINUSE:
                mend = ""
            raise CommandError(
                f"{where} cannot be used ({error.strerror}){mend}."
            ) from error
