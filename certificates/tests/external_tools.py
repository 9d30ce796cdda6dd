"""Run independent PKI tools (OpenSSL, GnuTLS, pkilint) on what the server issues."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REQUIRED = os.environ.get("PKI_PEERS") == "required"  # set by `./run test --pki`
VENV = Path(sys.executable).parent
STRONGSWAN_PLUGINS = [
    Path(f"/usr/lib/ipsec/plugins/libstrongswan-{name}.so") for name in ("openssl", "curl")
]
SOFTHSM = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
)


def tool_marks(*tools: str) -> list[pytest.MarkDecorator]:
    """Return the pytest marks for tests that need the given tools.

    Such tests are skipped where a tool is missing, unless `PKI_PEERS=required`.
    """
    missing = [tool for tool in tools if not find_tool(tool)]
    reason = f"not installed: {', '.join(missing)}"
    skipped = pytest.mark.skipif(bool(missing) and not REQUIRED, reason=reason)
    return [pytest.mark.peer, skipped]


def requires_tools(*tools: str) -> Callable[[Any], Any]:
    """Return a decorator that gives a test the marks of `tool_marks`."""

    def mark(test: Any) -> Any:
        for tool_mark in tool_marks(*tools):
            test = tool_mark(test)
        return test

    return mark


def find_tool(tool: str) -> str | None:
    """Return the path of a tool, or None if the tool or its plugins are not installed."""
    if tool == "pki" and not all(plugin.exists() for plugin in STRONGSWAN_PLUGINS):
        return None
    if tool in ("nginx", "pgbouncer"):
        return shutil.which(tool) or shutil.which(tool, path="/usr/sbin")
    return shutil.which(tool) or shutil.which(tool, path=str(VENV))


def softhsm_library() -> str:
    """Return the path of SoftHSM's PKCS #11 library.

    Raises:
        FileNotFoundError: SoftHSM is not installed.
    """
    for path in SOFTHSM:
        if Path(path).exists():
            return path
    raise FileNotFoundError("libsofthsm2.so")


def run_tool(*command: str, stdin: bytes | None = None, **options: Any) -> str:
    """Run a tool that must succeed. Return its standard output and error."""
    process = subprocess.run(
        [find_tool(command[0]) or command[0], *command[1:]],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=60,
        **options,
    )
    output = str(process.stdout.decode(errors="replace"))
    assert process.returncode == 0, f"{' '.join(command)}\n{output}"
    return output


def run_failing_tool(*command: str, **options: Any) -> str:
    """Run a tool that must fail. Return its standard output and error."""
    process = subprocess.run(
        [find_tool(command[0]) or command[0], *command[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=60,
        **options,
    )
    output = str(process.stdout.decode(errors="replace"))
    assert process.returncode != 0, f"{' '.join(command)}\n{output}"
    return output
