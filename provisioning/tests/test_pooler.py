"""PgBouncer in transaction mode between the server and PostgreSQL."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from certificates.tests.external_tools import find_tool, tool_marks
from certificates.tests.keys import ec_key, request_for
from devices.registry.tests.waiting import wait_until
from provisioning.embedded import endpoints
from provisioning.embedded.endpoints import Endpoints
from provisioning.tests.own_servers import OwnServers, own_servers, request
from provisioning.tests.running import free_ports

pytestmark = tool_marks("pgbouncer")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, migrated: Endpoints) -> Iterator[OwnServers]:
    with own_servers(tmp_path_factory.mktemp("pooler"), migrated) as own:
        yield own


@pytest.fixture(scope="module")
def pooled(own: OwnServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run PgBouncer with three connections. Yield the environment of its clients."""
    (port,) = free_ports(1)
    folder = tmp_path_factory.mktemp("pgbouncer")
    folder.chmod(0o755)
    server = own.endpoints
    files = {
        "users.txt": f'"provisioning" "{server.postgres_password}"\n',
        "pgbouncer.ini": f"""
[databases]
provisioning = host=127.0.0.1 port={server.postgres_port} user=provisioning password={server.postgres_password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = 3
max_client_conn = 500
""",
    }
    for name, content in files.items():
        (folder / name).write_text(content)
    process = subprocess.Popen(
        [find_tool("pgbouncer") or "", "-u", "nobody", str(folder / "pgbouncer.ini")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    wait_until(lambda: endpoints.accepts_connections(port))
    url = server.environment["DATABASE_URL"].replace(f":{server.postgres_port}/", f":{port}/")
    yield {"DATABASE_URL": url, "PREPARED_STATEMENTS": "off"}
    process.terminate()
    process.wait(timeout=30)


def test_no_request_and_no_task_fails_in_transaction_mode(
    own: OwnServers, pooled: dict[str, str]
) -> None:
    member = own.manage("create_tenant", "pooled", "--owner", "a@example.com", "--json")["token"]
    token = own.manage("create_enrollment_token", "pooled", "--json")["token"]
    failures: list[object] = []

    def live(number: int) -> None:
        made = request(
            port,
            "/devices/auto-register",
            token,
            {"serial_number": f"POOL-{number}", "csr": request_for(ec_key())},
        )
        device = made.body["token"]
        device_id = made.body["device"]["id"]
        answers = [made]
        for round_number in range(20):
            answers += [
                request(port, "/devices/connect", device, {"app_version": str(round_number)}),
                request(port, "/devices/metrics", device, {"cpu_usage": round_number}),
                request(port, "/devices/me/configuration", device),
                request(port, "/devices?page_size=5", member),
                request(port, f"/devices/{device_id}", member),
            ]
        failures.extend(answer for answer in answers if answer.status >= 300)

    with (
        own.serving("web", **pooled, WEB_WORKERS="2") as port,
        own.serving("worker", **pooled),
        own.serving("beat", **pooled),
    ):
        with ThreadPoolExecutor(12) as callers:
            list(callers.map(live, range(24)))
        waiting = "SELECT count(*), max(attempts) FROM events_delivery"
        wait_until(lambda: own.as_superuser(waiting)[0][0] == 0)

    assert failures == []
    for role in ("web", "worker", "beat"):
        log = own.log(role)
        assert "Traceback" not in log, log[-3000:]
        assert "ERROR" not in log, log[-3000:]
