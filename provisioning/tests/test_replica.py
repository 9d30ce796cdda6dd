"""Lists and charts are read from a streaming replica of PostgreSQL."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from devices.registry.tests.waiting import wait_until
from provisioning.embedded import endpoints
from provisioning.embedded.endpoints import Endpoints
from provisioning.processes import start, stop
from provisioning.tests.own_servers import OwnServers, own_servers, request
from provisioning.tests.running import free_ports
from tenants import replica as replica_module

SECOND_MEMBER = """
from django.utils import timezone
from accounts.services.tokens import issue_api_token
from tenants.context import tenant_scope
from tenants.models import Membership, Role, Tenant, User
with tenant_scope(Tenant.objects.get().pk):
    user = User.objects.create_user("b@example.com")
    member = Membership.objects.create(user=user, role=Role.VIEWER)
    print(issue_api_token(membership=member, name="b", now=timezone.now())[1])
"""


class Replica:
    """A streaming replica of the database of a test."""

    def __init__(self, own: OwnServers, port: int) -> None:
        self.own, self.port = own, port
        primary = own.programs["postgres"]
        binary, data = Path(primary.command[0]), Path(primary.command[2])
        self.data = data.with_name("replica")
        self.data.mkdir(mode=0o700)
        shutil.chown(self.data, data.stat().st_uid)
        source = f"host=127.0.0.1 port={own.endpoints.postgres_port} user=postgres"
        subprocess.run(
            [
                str(binary.with_name("pg_basebackup")),
                f"--dbname={source} password={own.endpoints.superuser_password}",
                f"--pgdata={self.data}",
                "--write-recovery-conf",
                "--checkpoint=fast",
            ],
            user=primary.user,
            cwd="/",
            check=True,
        )
        command = (str(binary), "-D", str(self.data), "-p", str(port), *primary.command[5:])
        self.program = replace(
            primary,
            name="replica",
            command=command,
            ready=lambda: endpoints.accepts_connections(port),
        )
        self.process = start(self.program, quiet=True)
        assert self.program.ready is not None
        wait_until(self.program.ready, timeout=60)
        wait_until(lambda: self.run("SELECT 1") == [(1,)])

    @property
    def url(self) -> str:
        primary = self.own.endpoints
        url = primary.environment["DATABASE_URL"]
        return url.replace(f":{primary.postgres_port}/", f":{self.port}/")

    def run(self, statement: str) -> list[Any]:
        try:
            connection = psycopg2.connect(
                host="127.0.0.1",
                port=self.port,
                user="postgres",
                password=self.own.endpoints.superuser_password,
                dbname="provisioning",
            )
        except psycopg2.OperationalError:
            return []
        connection.autocommit = True
        with closing(connection), connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep the replica at its present state."""
        self.run("SELECT pg_wal_replay_pause()")
        wait_until(lambda: self.run("SELECT pg_get_wal_replay_pause_state()") == [("paused",)])
        try:
            yield
        finally:
            self.run("SELECT pg_wal_replay_resume()")

    def stop(self) -> None:
        stop([(self.program, self.process)])


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, migrated: Endpoints) -> Iterator[OwnServers]:
    with own_servers(tmp_path_factory.mktemp("replica"), migrated) as own:
        yield own


@pytest.fixture(scope="module")
def replica(own: OwnServers) -> Iterator[Replica]:
    (port,) = free_ports(1)
    replica = Replica(own, port)
    yield replica
    replica.stop()


def test_lists_and_charts_are_read_from_the_replica_while_it_is_current(
    own: OwnServers, replica: Replica
) -> None:
    writer = own.manage("create_tenant", "read", "--owner", "a@example.com", "--json")["token"]
    enrollment = own.manage("create_enrollment_token", "read", "--json")["token"]

    def devices(token: str) -> set[str]:
        page = request(port, "/devices", token)
        assert page.status == 200
        return {device["name"] for device in page.body["results"]}

    def create(name: str, token: str = writer) -> str:
        answer = request(port, "/devices", token, {"name": name, "serial_number": name})
        assert answer.status == 201, answer.body
        return str(answer.body["id"])

    with own.serving(DATABASE_REPLICA_URL=replica.url) as port:
        first = create("first")
        reader = own.manage("shell", "--verbosity=0", "-c", SECOND_MEMBER).strip()
        wait_until(lambda: devices(reader) == {"first"})
        time.sleep(replica_module.CHECK_EVERY)
        # On an idle primary, the replica would count as being behind.
        request(port, "/devices/auto-register", enrollment, {"serial_number": "clock"})
        wait_until(lambda: replica.run("SELECT count(*) FROM devices_device") == [(2,)])
        assert len(devices(reader)) == 2
        with replica.paused():
            create("second")
            assert len(devices(reader)) == 2  # the state of the replica
            assert len(devices(writer)) == 3  # the writer sees the change
            chart = request(port, f"/devices/{first}/metrics?bucket=hour", reader)
            assert (chart.status, chart.body["results"]) == (200, [])
            time.sleep(replica_module.MAX_LAG + replica_module.CHECK_EVERY)
            assert len(devices(reader)) == 3  # the replica is too far behind
        replica.stop()
        create("third")
        wait_until(lambda: len(devices(reader)) == 4)
