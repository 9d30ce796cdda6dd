"""Behaviour while the database is away, stopped, read-only or has no connection left."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import psutil
import psycopg2
import pytest
from redis import Redis

from devices.registry.tests.waiting import wait_until
from provisioning.database import TIMEOUTS, connection_settings
from provisioning.embedded.endpoints import Endpoints
from provisioning.tests.openapi import openapi_document
from provisioning.tests.own_servers import OwnServers, Response, own_servers, request

TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'provisioning'"
UUID = "01234567-89ab-7def-8123-456789abcdef"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, migrated: Endpoints) -> Iterator[OwnServers]:
    with own_servers(tmp_path_factory.mktemp("database_faults"), migrated) as own:
        yield own


@pytest.fixture(scope="module")
def port(own: OwnServers) -> Iterator[int]:
    with own.serving(WEB_WORKERS="1", REQUEST_TIMEOUT="4") as port:
        yield port


@pytest.fixture(scope="module")
def member(own: OwnServers) -> str:
    made = own.manage("create_tenant", "faults", "--owner", "a@example.com", "--json")
    return str(made["token"])


@pytest.fixture(scope="module")
def device(own: OwnServers, port: int, member: str) -> str:
    token = own.manage("create_enrollment_token", "faults", "--json")["token"]
    made = request(port, "/devices/auto-register", token, {"serial_number": "FAULT-1"})
    return str(made.body["token"])


def connect(port: int, device: str) -> Response:
    return request(port, "/devices/connect", device, {})


def assert_unavailable(response: Response) -> None:
    assert response.status == 503
    assert int(response.headers["Retry-After"]) > 0
    assert response.body["errors"][0]["code"] == "unavailable"


def every_operation() -> list[tuple[str, str]]:
    return [
        (method.upper(), re.sub(r"{\w+}", UUID, path))
        for path, operations in openapi_document()["paths"].items()
        for method in operations
    ]


def test_every_endpoint_answers_503_while_the_database_is_away(
    own: OwnServers, port: int, member: str, device: str
) -> None:
    own.kill("postgres")
    before = len(own.log("web"))
    try:
        for method, path in every_operation():
            for token in (member, device, ""):
                response = request(port, path, token, {}, method=method)
                assert response.status == 503 or response.status < 500, (method, path)
                if response.status == 503:
                    assert_unavailable(response)
        for token in (member, device):
            assert_unavailable(request(port, "/devices/me", token))
        page = request(port, "/admin/", cookie=f"sessionid={'a' * 32}")
        assert (page.status, b"Temporarily unavailable" in page.body) == (503, True)
        assert connect(port, device).status == 503
        assert request(port, "/health/live").status == 200
        checks = request(port, "/health/ready").body["checks"]
        assert checks == {"database": "away", "broker": "ok"}
        metrics = request(port, "/metrics")
        assert metrics.status == 200
        assert b"\ndatabase_up 0.0" in metrics.body
    finally:
        own.start("postgres")

    log = own.log("web")[before:]
    assert "Traceback" not in log
    assert log.count("The database is unavailable") < 20
    wait_until(lambda: connect(port, device).status == 200, timeout=10)
    wait_until(lambda: database_state(port) == "ok", timeout=10)


def test_liveness_needs_no_thread_while_the_database_is_stopped(
    own: OwnServers, port: int, device: str
) -> None:
    with stopped_database(own), ThreadPoolExecutor(20) as callers:
        waiting = [callers.submit(connect, port, device) for _ in range(20)]
        lives = [request(port, "/health/live") for _ in range(50)]
        assert {response.status for response in lives} == {200}
        assert max(response.seconds for response in lives) < min(
            answered.result().seconds for answered in waiting
        )
        assert {answered.result().status for answered in waiting} == {503}

    wait_until(lambda: connect(port, device).status == 200, timeout=10)


def test_the_push_server_refuses_in_time_while_the_database_is_stopped(
    own: OwnServers, device: str
) -> None:
    stream = "/devices/me/commands/stream"
    with own.serving("stream", REQUEST_TIMEOUT="3") as port:
        with stopped_database(own), ThreadPoolExecutor(20) as callers:
            waiting = [callers.submit(request, port, stream, device) for _ in range(20)]
            assert request(port, "/health/live").status == 200
            for answered in waiting:
                assert_unavailable(answered.result())
        wait_until(lambda: request(port, stream, "dev_invalid").status == 401)


@contextmanager
def stopped_database(own: OwnServers) -> Iterator[None]:
    """Stop PostgreSQL and its sessions, which then keep their connections without answering."""
    server = psutil.Process(own.pid("postgres"))
    stopped = [server, *server.children()]
    for process in stopped:
        process.suspend()
    try:
        yield
    finally:
        for process in reversed(stopped):
            process.resume()


@pytest.mark.parametrize(
    ("fault", "cure", "state"),
    [
        (
            "ALTER ROLE provisioning SET default_transaction_read_only = on",
            "ALTER ROLE provisioning RESET default_transaction_read_only",
            "not_writable",
        ),
        (
            "ALTER ROLE provisioning CONNECTION LIMIT 0",
            "ALTER ROLE provisioning CONNECTION LIMIT -1",
            "away",
        ),
    ],
    ids=["read-only", "connection limit"],
)
def test_requests_succeed_within_seconds_after_a_fault(
    own: OwnServers, port: int, device: str, fault: str, cure: str, state: str
) -> None:
    own.as_superuser(fault, TERMINATE)
    before = len(own.log("web"))
    try:
        wait_until(lambda: connect(port, device).status == 503)
        assert request(port, "/devices/metrics", device, {"cpu_usage": 1}).status == 503
        assert "Traceback" not in own.log("web")[before:]
        assert_unavailable(connect(port, device))
        wait_until(lambda: database_state(port) == state)
    finally:
        own.as_superuser(cure)

    wait_until(lambda: connect(port, device).status == 200, timeout=10)
    wait_until(lambda: database_state(port) == "ok", timeout=10)


def database_state(port: int) -> Any:
    return request(port, "/health/ready").body["checks"]["database"]


def test_the_server_is_not_ready_while_redis_has_no_memory(
    own: OwnServers, port: int, device: str
) -> None:
    client = Redis.from_url(own.environment["REDIS_URL"])
    client.config_set("maxmemory", "1")
    try:
        wait_until(lambda: request(port, "/health/ready").status == 503)
        assert request(port, "/health/ready").body["checks"]["broker"] == "not_writable"
        assert connect(port, device).status == 200
    finally:
        client.config_set("maxmemory", "0")

    wait_until(lambda: request(port, "/health/ready").status == 200)


def test_the_sessions_of_a_process_have_the_name_of_its_role(
    own: OwnServers, port: int, device: str
) -> None:
    connect(port, device)
    names = own.as_superuser("SELECT DISTINCT application_name FROM pg_stat_activity")
    assert ("provisioning-web",) in names


@pytest.mark.parametrize(
    ("role", "statement", "lock", "idle"),
    [
        ("web", "20s", "5s", "1min"),
        ("stream", "20s", "5s", "1min"),
        ("beat", "20s", "5s", "1min"),
        ("worker", "170s", "30s", "5min"),
        ("command", "1h", "30s", "1h"),
    ],
)
def test_each_role_has_its_own_timeouts(
    own: OwnServers, role: str, statement: str, lock: str, idle: str
) -> None:
    url = own.environment["DATABASE_URL"]
    database = connection_settings(
        url, role=role, timeouts=TIMEOUTS[role], prepared_statements=True
    )
    with closing(psycopg2.connect(url, **database["OPTIONS"])) as connection:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),"
                " current_setting('idle_in_transaction_session_timeout')"
            )
            assert cursor.fetchone() == (statement, lock, idle)
        assert connection.info.dsn_parameters["connect_timeout"] == "5"
        assert connection.info.dsn_parameters["tcp_user_timeout"] == "15000"


def test_the_path_is_decoded_once(own: OwnServers, port: int) -> None:
    assert request(port, "/%256detrics").status == 404
    assert request(port, "/%6detrics").status == 200
