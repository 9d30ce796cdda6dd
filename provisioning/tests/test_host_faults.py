"""A host with a wrong clock, and a database on a full disk."""

import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certificates.tests.external_tools import requires_tools
from devices.registry.tests.waiting import wait_until
from provisioning.embedded.endpoints import Endpoints
from provisioning.tests.own_servers import OwnServers, own_servers, request


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Mount a file system of 400 MB that PostgreSQL's user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="small-disk-"))
    folder.chmod(0o755)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400m,mode=755", "tmpfs", str(folder)], check=True
    )
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.rmdir()


@pytest.fixture
def own(tmp_path: Path, migrated: Endpoints) -> Iterator[OwnServers]:
    with own_servers(tmp_path, migrated) as own:
        yield own


def device_token(own: OwnServers, port: int) -> str:
    own.manage("create_tenant", "faults", "--json")
    token = own.manage("create_enrollment_token", "faults", "--json")["token"]
    made = request(port, "/devices/auto-register", token, {"serial_number": "FAULT-1"})
    return str(made.body["token"])


@requires_tools("faketime")
def test_a_host_with_a_wrong_clock_stores_the_time_of_the_database(own: OwnServers) -> None:
    with own.serving(prefix="faketime -f +3h") as port:
        token = device_token(own, port)
        assert request(port, "/devices/connect", token, {}).status == 200

    ((last_seen, registered_at),) = own.as_superuser(
        "SELECT last_seen, registered_at FROM devices_device"
    )
    for time in (last_seen, registered_at):
        assert abs(time - datetime.now(UTC)) < timedelta(minutes=5)


@requires_tools("mount", "fallocate")
def test_a_full_disk_makes_the_server_unready_until_there_is_space(
    small_disk: Path, migrated: Endpoints
) -> None:
    with own_servers(small_disk, migrated) as own, own.serving() as port:
        token = device_token(own, port)
        filler = small_disk / "filler"
        free = int(subprocess.check_output(["stat", "-f", "-c", "%a", str(small_disk)])) * 4096
        with filler.open("wb") as file:
            subprocess.run(["fallocate", "-l", str(free), str(filler)], check=True)
            file.flush()
        wait_until(lambda: database_state(port) == "not_writable", timeout=10)

        filler.unlink()

        wait_until(lambda: database_state(port) == "ok", timeout=20)
        assert request(port, "/devices/connect", token, {}).status == 200


def database_state(port: int) -> object:
    return request(port, "/health/ready").body["checks"]["database"]
