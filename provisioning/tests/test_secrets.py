"""No secret appears in the database, the logs or the responses of a running server."""

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from certificates.tests.keys import ec_key, request_for
from provisioning.embedded.endpoints import Endpoints, load_or_create
from provisioning.tests.running import Up, call, running_up
from provisioning.tests.test_faults import rows


@pytest.fixture
def up(tmp_path: Path, migrated: Endpoints) -> Any:
    with running_up(tmp_path, migrated) as running:
        running.start()
        yield running


def create_secrets(up: Up) -> dict[str, str]:
    """Create a secret of every kind. Return the secrets by name."""
    output = up.output()
    enrollment = re.search(r"enr_[\w-]{43}", output)
    password = re.search(r"password +(\S+)", output)
    assert enrollment is not None
    assert password is not None
    csr = request_for(ec_key())
    registration = call(
        up, "/devices/auto-register", enrollment[0], {"serial_number": "A", "csr": csr}
    )
    call(up, "/devices/connect", registration["token"], {})
    tenant = json.loads(up.manage("create_tenant", "acme", "--owner", "a@b.test", "--json"))
    device = call(up, "/devices", tenant["token"], {"serial_number": "B"})
    new_token = call(up, f"/devices/{device['id']}/token", tenant["token"], {})
    pairing = call(up, "/devices/pair", "", {"serial_number": "C"})
    up.manage("issue_certificate", device["id"])
    private = (
        up.var / "certificates" / "devices" / "private" / f"{device['id']}-key.pem"
    ).read_text()
    ca = (up.var / "certificates" / "ca-key.pem").read_text()
    with pytest.raises(OSError, match="401"):
        call(up, "/devices", "usr_" + "wrong" * 8 + "abc", {})
    servers = load_or_create(up.var).environment
    return {
        "owner's password": tenant["password"],
        "API token": tenant["token"],
        "device token": registration["token"],
        "new device token": new_token["token"],
        "device code": pairing["device_code"],
        "user code": pairing["user_code"],
        "user code as typed": pairing["user_code"].replace("-", ""),
        # Use a line from the end of the key. The modulus at the beginning is public.
        "device's private key": private.splitlines()[-4],
        "CA's private key": ca.splitlines()[-4],
        "secret key": (up.var / "secret_key").read_text().strip(),
        "database": re.search(r":([^:@]+)@", servers["DATABASE_URL"])[1],  # type: ignore[index]
        "broker": re.search(r":([^:@]+)@", servers["REDIS_URL"])[1],  # type: ignore[index]
        "rejected token": "wrongwrongwrong",
        "administrator's password": password[1],
        "enrollment token": enrollment[0],
    }


def test_no_secret_is_written_anywhere(up: Up, tmp_path: Path) -> None:
    secrets = create_secrets(up)
    tables = [
        name
        for (name,) in rows(
            up,
            "SELECT quote_ident(relname) FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace",
        )
    ]
    written = {
        f"table {table}": str(rows(up, f"SELECT t::text FROM {table} t")) for table in tables
    }
    log = up.output()
    # The first run deliberately shows two secrets once.
    welcome = [line for line in log.splitlines() if line.startswith("first_run")]
    written["log"] = "\n".join(line for line in log.splitlines() if line not in welcome)
    written["metrics"] = _get(up, "/metrics")
    written["schema"] = _get(up, "/schema")
    written["export"] = up.manage("list_certificates", "--json")
    assert len(tables) > 20

    leaks = [
        (name, place)
        for name, secret in secrets.items()
        for place, text in written.items()
        if secret in text
    ]
    assert leaks == []
    assert {name for name, secret in secrets.items() if secret in "\n".join(welcome)} == {
        "administrator's password",
        "enrollment token",
    }


def _get(up: Up, path: str) -> str:
    with urllib.request.urlopen(f"http://localhost:{up.port}{path}") as response:
        return str(response.read().decode())
