"""Pytest plugin that starts embedded servers for the tests, unless others are configured.

The plugin is loaded before anything reads Django's settings. Each parallel worker has its own
database (created by pytest-django) and its own Redis database.
"""

import atexit
import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from provisioning.embedded import endpoints, servers
from provisioning.var import BASE

_resources = ExitStack()


def _prepare() -> None:
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    scratch = Path(tempfile.mkdtemp(prefix="provisioning-test-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    os.environ["CERTIFICATES_ROOT"] = str(scratch / "certificates")
    os.environ.pop("PUBLIC_URL", None)
    for limit in ("ADDRESS", "REFUSED", "SIGN_IN"):  # all tests call from one address
        os.environ[f"RATE_{limit}"] = "off"
    if worker is None:
        os.environ["VAR_DIR"] = str(BASE / "var" / "test")
        if endpoints.missing_servers(os.environ):
            embedded = _resources.enter_context(
                servers.running(BASE / "var" / "test", durable=False)
            )
            for name, value in embedded.environment.items():
                os.environ.setdefault(name, value)
        atexit.register(_resources.close)
    number = int(worker.removeprefix("gw")) + 1 if worker else 0
    os.environ["REDIS_URL"] = f"{os.environ['REDIS_URL'].rsplit('/', 1)[0]}/{number}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests() -> Iterator[None]:
    """Prepare the environment before pytest-django reads the settings."""
    _prepare()
    gc.disable()
    return (yield)


def pytest_collection_finish() -> None:
    """Exclude modules and tests from garbage collection, because they stay alive.

    Otherwise, garbage collection would take a sixth of the time of a test run.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()
