"""Run all processes on one machine: embedded servers, web, push, worker and beat."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from provisioning.embedded import endpoints, postgres, servers
from provisioning.embedded.endpoints import EmbeddedError
from provisioning.processes import Program, Supervisor
from provisioning.roles import command_line
from provisioning.var import BASE, empty_metrics_folder


class Command(BaseCommand):
    help = "Run all processes on this machine. Ctrl-C stops them."
    requires_system_checks = ()  # checks need the database, which is not running yet

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--port",
            type=int,
            default=settings.PORT,
            help=f"Port of the web server (default: {settings.PORT}).",
        )

    def handle(self, *args: Any, port: int, **options: Any) -> None:
        stream_port = _stream_port(port)
        _require_free_port(port)
        _require_free_port(stream_port)
        supervisor = Supervisor(lambda line: print(line, flush=True))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: supervisor.request_stop())
        os.environ["PORT"] = str(port)
        os.environ["STREAM_PORT"] = str(stream_port)
        try:
            with _servers(supervisor):
                if supervisor.stopping:
                    return
                _run_command("migrate", "--no-input", "--verbosity=0", supervisor=supervisor)
                _run_command("first_run", supervisor=supervisor)
                for program in _programs(port, stream_port):
                    supervisor.add(program)
                address = os.environ.get("PUBLIC_URL", f"http://localhost:{port}")
                # Other commands read this file, so that the certificates that they issue
                # contain the address of this server.
                (settings.VAR / "public_url").write_text(address, encoding="utf-8")
                text = f"The portal is at {address.rstrip('/')}/admin/"
                # A daemon, because the server may never answer.
                announce = partial(_log_when_it_answers, port, supervisor, text)
                threading.Thread(target=announce, daemon=True).start()
                supervisor.watch()
        except (EmbeddedError, TimeoutError) as error:
            raise CommandError(str(error)) from error
        finally:
            supervisor.stop()


@contextmanager
def _servers(supervisor: Supervisor) -> Iterator[None]:
    """Run an embedded server for each server that is not configured."""
    wanted = endpoints.missing_servers(os.environ)
    if not wanted:
        yield
        return
    with servers.exclusive(settings.VAR) as embedded:
        for name, value in embedded.environment.items():
            if f"{name}_FILE" not in os.environ:
                os.environ.setdefault(name, value)
        for program in servers.programs(embedded, wanted=wanted):
            supervisor.add(program)
        if "postgres" in wanted and not supervisor.stopping:
            postgres.ensure_database(embedded)
        try:
            yield
        finally:
            supervisor.stop()


def _log_when_it_answers(port: int, supervisor: Supervisor, text: str) -> None:
    """Log a text as soon as the web server accepts connections."""
    while not supervisor.stopping:
        with suppress(OSError), socket.create_connection((settings.HOST, port), timeout=1):
            supervisor.log("up", text)
            return
        time.sleep(0.2)


def _programs(port: int, stream_port: int) -> list[Program]:
    multiprocess = {"PROMETHEUS_MULTIPROC_DIR": str(empty_metrics_folder("up"))}
    as_root = {"PYTHONWARNINGS": "ignore:You're running the worker with superuser"}
    worker = _program("worker", port, as_root)
    return [
        _program("web", port, multiprocess),
        _program("stream", stream_port, multiprocess),
        # A warm shutdown of the worker hangs without the broker.
        replace(worker, orphan_signal=signal.SIGQUIT),
        _program("beat", port, {}),
    ]


def _program(role: str, port: int, environment: dict[str, str]) -> Program:
    return Program(
        name=role,
        command=command_line(role, port=port),
        environment={**environment, "PROCESS_ROLE": role},
    )


def _run_command(*command: str, supervisor: Supervisor) -> None:
    """Run a management command to its end and forward its output.

    Raises:
        CommandError: the command failed.
    """
    child = subprocess.Popen(
        (sys.executable, str(BASE / "manage.py"), *command),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in child.stdout or ():
        supervisor.log(command[0], line)
    if child.wait() != 0 and not supervisor.stopping:
        raise CommandError(f"{command[0]} failed. See its output above.")


def _stream_port(port: int) -> int:
    """Return the push server's port, which depends on `--port` if STREAM_PORT is not set."""
    if port == settings.PORT or "STREAM_PORT" in os.environ:
        return settings.STREAM_PORT
    return port + settings.STREAM_PORT - settings.PORT


def _require_free_port(port: int) -> None:
    if not 0 < port < 65536:
        raise CommandError(f"{port} is not a valid port. Use 1 to 65535.", returncode=2)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.HOST, port))
        except OSError as error:
            hint = ""
            if error.errno == errno.EADDRINUSE:
                hint = " To use another port: PORT=8001 ./run"
            raise CommandError(
                f"Cannot listen on {settings.HOST}:{port} ({error.strerror}).{hint}"
            ) from error
