"""What a whole run writes anywhere has none of its secrets in it."""

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from certificates.tests.keys import ec_key, request_for
from provisioning.embedded.endpoints import known
from provisioning.tests.running import Up, call, running_up
from provisioning.tests.test_faults import rows


@pytest.fixture
def up(tmp_path: Path) -> Any:
    with running_up(tmp_path) as running:
        running.start()
        yield running


def secrets_of_a_run(up: Up) -> dict[str, str]:
    """Use every way by which a secret comes into being; all of them, by name."""
    said = up.output()
    enrollment = re.search(r"enr_[\w-]{43}", said)
    password = re.search(r"password +(\S+)", said)
    assert enrollment is not None
    assert password is not None
    csr = request_for(ec_key())
    box = call(
        up, "/devices/auto-register", enrollment[0], {"serial_number": "A", "csr": csr}
    )
    call(up, "/devices/connect", box["token"], {})
    tenant = json.loads(
        up.manage("create_tenant", "acme", "--owner", "a@b.test", "--json")
    )
    device = call(up, "/devices", tenant["token"], {"serial_number": "B"})
    fresh = call(up, f"/devices/{device['id']}/token", tenant["token"], {})
    pairing = call(up, "/devices/pair", "", {"serial_number": "C"})
    up.manage("issue_certificate", device["id"])
    private = (
        up.var / "certificates" / "devices" / "private" / f"{device['id']}-key.pem"
    ).read_text()
    ca = (up.var / "certificates" / "ca-key.pem").read_text()
    with pytest.raises(OSError, match="401"):
        call(up, "/devices", "usr_" + "wrong" * 8 + "abc", {})
    at = known(up.var).environment
    return {
        "owner's password": tenant["password"],
        "API token": tenant["token"],
        "device token": box["token"],
        "new device token": fresh["token"],
        "device code": pairing["device_code"],
        "user code": pairing["user_code"],
        "user code as typed": pairing["user_code"].replace("-", ""),
        # The end of a key: its beginning, the modulus, is public.
        "device's private key": private.splitlines()[-4],
        "CA's private key": ca.splitlines()[-4],
        "secret key": (up.var / "secret_key").read_text().strip(),
        "database": re.search(r":([^:@]+)@", at["DATABASE_URL"])[1],  # type: ignore[index]
        "broker": re.search(r":([^:@]+)@", at["REDIS_URL"])[1],  # type: ignore[index]
        "presented and refused": "wrongwrongwrong",
    } | {"administrator's password": password[1], "enrollment token": enrollment[0]}


def test_no_secret_is_in_what_a_run_wrote(up: Up, tmp_path: Path) -> None:
    hidden = secrets_of_a_run(up)
    tables = [
        name
        for (name,) in rows(
            up,
            "SELECT quote_ident(relname) FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace",
        )
    ]
    written = {
        f"table {table}": str(rows(up, f"SELECT t::text FROM {table} t"))
        for table in tables
    }
    log = up.output()
    # What the first run shows once, on purpose, and nothing else.
    shown = [line for line in log.splitlines() if line.startswith("first_run")]
    written["log"] = "\n".join(line for line in log.splitlines() if line not in shown)
    written["metrics"] = _get(up, "/metrics")
    written["schema"] = _get(up, "/schema")
    written["export"] = up.manage("list_certificates", "--json")
    assert len(tables) > 20

    found = [
        (name, where)
        for name, secret in hidden.items()
        for where, text in written.items()
        if secret in text
    ]
    assert found == []
    once = {"administrator's password", "enrollment token"}
    assert {
        name for name, secret in hidden.items() if secret in "\n".join(shown)
    } == once


def _get(up: Up, path: str) -> str:
    with urllib.request.urlopen(f"http://localhost:{up.port}{path}") as answer:
        return str(answer.read().decode())
