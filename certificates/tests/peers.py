"""Strangers' software, asked what it makes of ours."""

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
    Path(f"/usr/lib/ipsec/plugins/libstrongswan-{name}.so")
    for name in ("openssl", "curl")
]
SOFTHSM = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
)


def marks(*tools: str) -> list[pytest.MarkDecorator]:
    """For tests by means of these tools; without them they cannot be made."""
    missing = [tool for tool in tools if not found(tool)]
    reason = f"no {', '.join(missing)} here"
    skipped = pytest.mark.skipif(bool(missing) and not REQUIRED, reason=reason)
    return [pytest.mark.peer, skipped]


def needs(*tools: str) -> Callable[[Any], Any]:
    """The same for one test."""

    def mark(test: Any) -> Any:
        for each in marks(*tools):
            test = each(test)
        return test

    return mark


def found(tool: str) -> str | None:
    if tool == "pki" and not all(plugin.exists() for plugin in STRONGSWAN_PLUGINS):
        return None
    if tool == "nginx":
        return shutil.which(tool) or shutil.which(tool, path="/usr/sbin")
    return shutil.which(tool) or shutil.which(tool, path=str(VENV))


def softhsm() -> str:
    """The library of SoftHSM's tokens."""
    for path in SOFTHSM:
        if Path(path).exists():
            return path
    raise FileNotFoundError("libsofthsm2.so")


def ask(*command: str, stdin: bytes | None = None, **more: Any) -> str:
    """Run a tool that has to succeed; what it says, on both of its outputs."""
    done = subprocess.run(
        [found(command[0]) or command[0], *command[1:]],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=60,
        **more,
    )
    said = str(done.stdout.decode(errors="replace"))
    assert done.returncode == 0, f"{' '.join(command)}\n{said}"
    return said


def refused(*command: str, **more: Any) -> str:
    """Run a tool that has to fail; what it says."""
    done = subprocess.run(
        [found(command[0]) or command[0], *command[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=60,
        **more,
    )
    said = str(done.stdout.decode(errors="replace"))
    assert done.returncode != 0, f"{' '.join(command)}\n{said}"
    return said
