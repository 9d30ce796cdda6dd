"""A Celery worker, forked from a process that has imported the project.

Importing takes seconds, and many tests start a worker.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import Any
from unittest.mock import patch

import django
from django.conf import settings
from django.test import override_settings

from devices.registry.tests.waiting import wait_until
from provisioning.tests.processes import subprocess_environment

django.setup()  # also in the process from which workers are forked

from provisioning.celery import app  # noqa: E402 # needs the applications

app.loader.import_default_modules()

ARGUMENTS = (
    *("worker", "--queues", "prompt,bulk", "--concurrency", "1", "--loglevel", "error"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


def _settings() -> dict[str, Any]:
    return {name: getattr(settings, name) for name in dir(settings) if name.isupper()}


_INITIAL = _settings()


@contextmanager
def running_worker() -> Iterator[None]:
    """Run a worker on the test's database and broker, with the settings that the test changed."""
    with patch.dict(os.environ, subprocess_environment()):
        forkserver.ensure_running()
    changed = {name: value for name, value in _settings().items() if value != _INITIAL.get(name)}
    worker = _context.Process(target=_run, args=(changed,))
    worker.start()
    process = worker.pid
    assert process is not None
    wait_until(lambda: os.getpgid(process) == process)
    try:
        yield
    finally:
        # The worker and its pool must not run during the next tests.
        os.killpg(process, signal.SIGKILL)
        worker.join()


def _run(changed: dict[str, Any]) -> None:
    os.setsid()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    with override_settings(**changed):
        app.worker_main(list(ARGUMENTS))
