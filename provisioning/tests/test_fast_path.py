"""The fast path of the web server: the same answers as the ordinary way, and nothing lost."""

import asyncio
import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar

import psycopg2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.ocsp import OCSPCertStatus as Status
from django.core.exceptions import SynchronousOnlyOperation
from redis import Redis

from certificates.tests.keys import ec_key, request_for
from core.fast_requests import FastQuestion, FastRequest
from devices.registry.tests.waiting import wait_until
from devices.updates.api.fast_poll import FastUpdatePoll
from provisioning.embedded.endpoints import Endpoints
from provisioning.fast_path import REST_SECONDS, FastPath
from provisioning.tests.own_servers import OwnServers, Response, own_servers, request
from provisioning.tests.test_device_messages import FAULTY_ENCODINGS, MESSAGES

FACTS = {"app_version": "2.1.0", "os_version": "9", "boot_id": "boot-1"}
OWN = {"x-request-id", "date", "server_time"}
POLL = "/devices/me/configuration"
# One process, so that all requests meet in it.
SETTINGS = {"WEB_WORKERS": "1", "STREAM_URL": "http://localhost:9"}
TENANTS = ("first", "second")
SAMPLE_TABLES = ("metrics_devicemetrics", "metrics_latestmetrics")
ROLL_UP_TABLES = ("metrics_hourlymetrics", "metrics_dailymetrics")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, migrated: Endpoints) -> Iterator[OwnServers]:
    with own_servers(tmp_path_factory.mktemp("fast_path"), migrated) as own:
        yield own


@pytest.fixture(scope="module")
def fast(own: OwnServers) -> Iterator[int]:
    with own.serving(**SETTINGS, RATE_DEVICE="600/min", RATE_SAMPLES="200/min") as port:
        yield port


@pytest.fixture(scope="module")
def ordinary(own: OwnServers) -> Iterator[int]:
    with own.serving(**SETTINGS, FAST_PATH="off") as port:
        yield port


@pytest.fixture(scope="module")
def owners(own: OwnServers) -> dict[str, str]:
    """Return the API tokens of the tenants' owners."""
    return {
        name: own.manage("create_tenant", name, "--owner", f"{name}@example.com", "--json")["token"]
        for name in TENANTS
    }


@pytest.fixture(scope="module")
def enrollment(own: OwnServers, owners: dict[str, str]) -> dict[str, str]:
    tokens = {}
    for name in TENANTS:
        tokens[name] = own.manage("create_enrollment_token", name, "--json")["token"]
    return tokens


Result = TypeVar("Result")


class Devices:
    """Register devices that are online, and connect them once with their facts."""

    def __init__(self, port: int, enrollment: dict[str, str]) -> None:
        self.port, self.enrollment, self.count = port, enrollment, 0

    def register(self, tenant: str = "first") -> str:
        self.count += 1
        body = {"serial_number": f"FAST-{self.count}"}
        made = request(self.port, "/devices/auto-register", self.enrollment[tenant], body).body
        assert connect(self.port, made["token"]).status == 200
        return str(made["token"])


@pytest.fixture(scope="module")
def devices(fast: int, enrollment: dict[str, str]) -> Devices:
    return Devices(fast, enrollment)


def connect(port: int, token: str, **changes: Any) -> Response:
    return request(port, "/devices/connect", token, {**FACTS, **changes})


def fast_answers(port: int, view: str = "device-connect") -> int:
    """Return how many requests the server has answered on the fast path."""
    text = request(port, "/metrics").body.decode()
    match = re.search(rf'^fast_path_answers_total{{view="{view}"}} (\d+)', text, re.MULTILINE)
    return int(match[1]) if match else 0


def answered_fast(
    port: int, send: Callable[[], Result], count: int = 1, view: str = "device-connect"
) -> Result:
    """Send requests of which `count` must be answered on the fast path.

    They are sent again if a busy machine has delayed a statement so much that the fast path rests.
    """
    for _ in range(3):
        before = fast_answers(port, view)
        result = send()
        if fast_answers(port, view) == before + count:
            return result
        time.sleep(REST_SECONDS)
    raise AssertionError(f"{view}: not {count} fast answers")


def scalar(own: OwnServers, sql: str) -> Any:
    return own.as_superuser(sql)[0][0]


def comparable(response: Response) -> tuple[int, dict[str, str], Any]:
    headers = {name.lower(): value for name, value in response.headers.items()}
    body = response.body
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name not in OWN}
    return (
        response.status,
        {name: value for name, value in headers.items() if name not in OWN},
        body,
    )


def send_sample(port: int, token: str, **values: Any) -> Response:
    recorded_at = datetime.now(UTC).isoformat()
    body = {"recorded_at": recorded_at, "cpu_usage": 12.5, **values}
    return request(port, "/devices/metrics", token, body)


def poll(port: int, token: str, version: str) -> Response:
    return request(port, POLL, token, headers={"If-None-Match": f'"{version}"'})


def test_the_answers_and_their_headers_are_those_of_the_ordinary_way(
    fast: int, ordinary: int, devices: Devices
) -> None:
    token = devices.register()
    connect(fast, token)
    version = request(fast, POLL, token).body["version"]
    for send, view in (
        (lambda port: connect(port, token), "device-connect"),
        (lambda port: poll(port, token, version), "my-configuration"),
        (lambda port: request(port, "/devices/me/update", token), "my-update"),
        (lambda port: send_sample(port, token), "metrics-ingest"),
    ):
        send(fast)  # the first answer of a kind is an ordinary one
        answer = answered_fast(fast, partial(send, fast), view=view)
        assert comparable(answer) == comparable(send(ordinary)), view


def test_a_connect_that_was_answered_is_stored(
    own: OwnServers, fast: int, devices: Devices
) -> None:
    tokens = [devices.register(tenant) for tenant in TENANTS for _ in range(10)]
    own.as_superuser("UPDATE devices_device SET last_seen = now() - interval '1 minute'")

    def send() -> list[int]:
        with ThreadPoolExecutor(20) as callers:
            return list(callers.map(lambda token: connect(fast, token).status, tokens))

    assert answered_fast(fast, send, 20) == [200] * 20
    old = "SELECT count(*) FROM devices_device WHERE last_seen > now() - interval '30 s'"
    assert scalar(own, old) == 20


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"app_version": "2.2.0"}, "app_version"),
        ({"os_version": "10"}, "os_version"),
        ({"ip_address": "192.0.2.7"}, "host(ip_address)"),
    ],
)
def test_a_changed_fact_goes_the_ordinary_way(
    own: OwnServers, fast: int, devices: Devices, changes: dict[str, str], column: str
) -> None:
    token = devices.register()
    before = fast_answers(fast)

    body = connect(fast, token, **changes).body

    assert fast_answers(fast) == before
    stored = scalar(own, f"SELECT {column} FROM devices_device WHERE id = '{body['device_id']}'")
    assert [stored] == list(changes.values())


def test_an_offline_device_comes_online_with_exactly_one_event(
    own: OwnServers, fast: int, devices: Devices
) -> None:
    token = devices.register()
    device_id = connect(fast, token).body["device_id"]
    own.as_superuser(f"UPDATE devices_device SET status = 'offline' WHERE id = '{device_id}'")
    events = (
        f"SELECT count(*) FROM events_event WHERE device_id = '{device_id}'"
        " AND name = 'device.status_changed'"
    )
    before = scalar(own, events)

    with ThreadPoolExecutor(20) as callers:
        statuses = list(callers.map(lambda _: connect(fast, token).status, range(20)))

    assert statuses == [200] * 20
    assert scalar(own, events) == before + 1


def test_a_device_in_quarantine_is_told_so(own: OwnServers, fast: int, devices: Devices) -> None:
    token = devices.register()
    device_id = connect(fast, token).body["device_id"]
    own.as_superuser(f"UPDATE devices_device SET quarantined_at = now() WHERE id = '{device_id}'")

    assert connect(fast, token).body["quarantined"] is True
    assert request(fast, "/devices/me/update", token).status == 403


def test_a_replaced_token_is_refused_at_once(fast: int, devices: Devices) -> None:
    token = devices.register()
    assert connect(fast, token).status == 200
    body = {"serial_number": f"FAST-{devices.count}"}
    again = request(fast, "/devices/auto-register", devices.enrollment["first"], body)

    assert again.status == 200
    assert connect(fast, token).status == 401
    assert connect(fast, again.body["token"]).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"app_version": "2.1.0\\u0000"}',
        b'{"app_version": "\\ud800"}',
        b'{"app_version": 2.1}',
        b'{"app_version": null, "report_number": "7"}',
        b'{"report_number": -1}',
        b'{"report_number": 99999999999999999999}',
        b'{"ip_address": "300.1.1.1"}',
        b'{"ip_address": "fe80::1%wlan0"}',
        b'{"ip_address": "::1%\\u0000"}',
        '{"app_version": "2.1.0"}'.encode("utf-16"),
        b'{"unknown": 1}',
        b'["list"]',
        b"[" * 2000,
        b"not JSON",
        b"",
        *FAULTY_ENCODINGS,
        *(json.dumps(message).encode() for message, _ in MESSAGES),
    ],
)
def test_an_unusual_message_is_answered_as_on_the_ordinary_way(
    fast: int, ordinary: int, devices: Devices, body: bytes
) -> None:
    token = devices.register()

    answers = [request(port, "/devices/connect", token, body) for port in (fast, ordinary)]

    assert comparable(answers[0]) == comparable(answers[1])


def test_no_message_stops_the_fast_answers_of_others(fast: int, devices: Devices) -> None:
    unusual, other = devices.register("first"), devices.register("second")
    connect(fast, other)
    for address in ("fe80::1%wlan0", "::1%\u0000", "\ud800"):
        connect(fast, unusual, ip_address=address)
        assert answered_fast(fast, partial(connect, fast, other)).status == 200


def test_a_locked_device_delays_no_other(own: OwnServers, fast: int, devices: Devices) -> None:
    locked, other = devices.register("first"), devices.register("second")
    device_id = connect(fast, locked).body["device_id"]
    with ThreadPoolExecutor(1) as callers:
        with locked_row(own, device_id):
            waiting = callers.submit(connect, fast, locked)
            statuses = answered_fast(
                fast, lambda: [connect(fast, other).status for _ in range(10)], 10
            )
            assert statuses == [200] * 10
            assert not waiting.done()
        assert waiting.result().status == 200


@contextmanager
def locked_row(own: OwnServers, device_id: str) -> Iterator[None]:
    connection = psycopg2.connect(own.environment["DATABASE_URL"])
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("SET provisioning.scope = '*'")
        cursor.execute("SELECT FROM devices_device WHERE id = %s FOR UPDATE", [device_id])
        yield
        connection.rollback()


def test_the_limit_of_a_device_holds(fast: int, devices: Devices) -> None:
    token = devices.register()

    with ThreadPoolExecutor(8) as callers:
        statuses = list(callers.map(lambda _: connect(fast, token).status, range(800)))

    assert 429 in statuses
    assert 550 <= statuses.count(200) <= 660


def test_a_sample_is_stored_as_on_the_ordinary_way(
    own: OwnServers, fast: int, ordinary: int, devices: Devices
) -> None:
    recorded_at = datetime.now(UTC) - timedelta(minutes=1)
    values = {
        "recorded_at": recorded_at.isoformat(),
        "ram_used_mb": 700,
        "ram_total_mb": 2048,
        "network": {"type": "wifi", "ssid": "Lobby ünïcode"},
        "running_apps": ["player"],
        "screen": {"is_on": True},
        "vendor": {"fan": 3},
    }
    tokens = devices.register(), devices.register()
    answered_fast(fast, partial(send_sample, fast, devices.register()), view="metrics-ingest")
    before = fast_answers(fast, "metrics-ingest")

    answers = [
        send_sample(port, token, **values)
        for port, token in zip((fast, ordinary), tokens, strict=True)
    ]

    assert fast_answers(fast, "metrics-ingest") == before + 1
    assert comparable(answers[0]) == comparable(answers[1])
    assert answers[0].body["stored"] == 1
    assert send_sample(fast, tokens[0], **values).body["repeated"] == 1
    for table in SAMPLE_TABLES:
        assert len(stored_rows(own, table, "recorded_at", recorded_at)) == 1, table
    for table in ROLL_UP_TABLES:
        assert len(stored_rows(own, table, "newest_at", recorded_at)) == 1, table


def stored_rows(own: OwnServers, table: str, column: str, moment: datetime) -> list[Any]:
    """Return the different rows of two devices without what differs between any two of them."""
    rows = own.as_superuser(
        f"SELECT to_jsonb(r) - 'device_id' - 'received_at' - 'p95_due_at' FROM {table} r"
        f" WHERE {column} = '{moment.isoformat()}'"
    )
    assert len(rows) == 2, rows
    return [row for row in rows if row != rows[0]] + rows[:1]


def test_a_sample_without_a_time_is_not_stored_on_the_fast_path(
    fast: int, devices: Devices
) -> None:
    token = devices.register()
    send_sample(fast, token)
    before = fast_answers(fast, "metrics-ingest")

    answer = request(fast, "/devices/metrics", token, {"cpu_usage": 12.5})

    assert answer.body["stored"] == 1
    assert fast_answers(fast, "metrics-ingest") == before


def test_a_sample_marks_its_device_as_seen(own: OwnServers, fast: int, devices: Devices) -> None:
    token = devices.register()
    device_id = connect(fast, token).body["device_id"]
    send_sample(fast, token)
    own.as_superuser("UPDATE devices_device SET last_seen = now() - interval '1 minute'")

    answer = answered_fast(fast, partial(send_sample, fast, token), view="metrics-ingest")

    assert answer.body["stored"] == 1
    seen = (
        f"SELECT last_seen > now() - interval '30 s' FROM devices_device WHERE id = '{device_id}'"
    )
    assert scalar(own, seen)


@pytest.mark.parametrize(
    "body",
    [
        b'{"cpu_usage": 12.5}',
        b'{"cpu_usage": 101}',
        b'{"cpu_usage": "12"}',
        b'{"cpu_usage": NaN, "ram_used_mb": 5}',
        b'{"cpu_usage": 1, "network": {"type": "\\ud800"}}',
        b'{"cpu_usage": 1, "network": {"type": "\xff"}}',
        b'{"cpu_usage": 1, "x": "\\u0000"}',
        b'{"cpu_usage": 1, "recorded_at": "1970-01-01T00:00:00Z"}',
        b'{"cpu_usage": 1, "recorded_at": "2999-01-01T00:00:00Z"}',
        b'{"cpu_usage": 1, "recorded_at": "yesterday"}',
        b'{"recorded_at": "2026-01-01T00:00:00Z"}',
        b'{"samples": [{"cpu_usage": 1}]}',
        b'[{"cpu_usage": 1}, {"cpu_usage": 2}]',
        b"[]",
        b"not JSON",
    ],
)
def test_an_unusual_sample_is_answered_as_on_the_ordinary_way(
    fast: int, ordinary: int, devices: Devices, body: bytes
) -> None:
    answers = [
        request(port, "/devices/metrics", devices.register(), body) for port in (fast, ordinary)
    ]

    assert comparable(answers[0]) == comparable(answers[1])


def test_a_refused_sample_stops_the_fast_answers_of_no_other(
    own: OwnServers, fast: int, devices: Devices
) -> None:
    tokens = [devices.register(tenant) for tenant in TENANTS for _ in range(8)]
    for token in tokens:
        send_sample(fast, token)
    # No value is known that passes the checks of the server, but not those of the database.
    own.as_superuser("ALTER TABLE metrics_latestmetrics ADD CHECK (ssid <> 'refused')")

    def send(number: int) -> int:
        network = {"ssid": "refused" if number == 5 else "accepted"}
        return send_sample(fast, tokens[number], network=network).status

    def send_all() -> list[int]:
        with ThreadPoolExecutor(len(tokens)) as callers:
            return list(callers.map(send, range(len(tokens))))

    statuses = answered_fast(fast, send_all, len(tokens) - 1, "metrics-ingest")

    assert statuses.count(200) == len(tokens) - 1


def test_a_sample_that_violates_a_rule_requests_an_evaluation(
    own: OwnServers, fast: int, devices: Devices, owners: dict[str, str]
) -> None:
    rule = {"name": "Hot", "kind": "metric", "measure": "cpu_usage", "threshold": 90}
    assert request(fast, "/monitoring/rules", owners["first"], rule).status == 201
    token = devices.register("first")
    device_id = connect(fast, token).body["device_id"]
    broker = Redis.from_url(own.endpoints.environment["REDIS_URL"])

    def is_requested() -> bool:
        tasks = [json.loads(task)["body"] for task in broker.lrange("provisioning:prompt", 0, -1)]
        return any(device_id in base64.b64decode(task).decode() for task in tasks)

    def has_effect() -> bool:  # the rules are read again after some seconds
        return send_sample(fast, token, cpu_usage=95).status == 200 and is_requested()

    answered_fast(fast, partial(send_sample, fast, token, cpu_usage=5), view="metrics-ingest")
    before = fast_answers(fast, "metrics-ingest")
    wait_until(has_effect)
    assert fast_answers(fast, "metrics-ingest") > before


def test_an_ocsp_response_is_that_of_the_ordinary_way_until_the_status_changes(
    fast: int, devices: Devices, owners: dict[str, str]
) -> None:
    body = {"serial_number": "OCSP-1", "csr": request_for(ec_key())}
    made = request(fast, "/devices/auto-register", devices.enrollment["first"], body).body
    certificate = x509.load_pem_x509_certificate(made["certificate"]["certificate"].encode())
    issuer = x509.load_pem_x509_certificate(request(fast, "/certificates/ca.pem").body)
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, SHA256())
    der = builder.build().public_bytes(Encoding.DER)
    path = f"/certificates/ocsp/{base64.b64encode(der).decode()}"

    for view, ask in (
        ("ocsp", lambda: request(fast, "/certificates/ocsp", body=der)),
        ("ocsp-get", lambda: request(fast, path)),
    ):
        ordinary_answer = ask()
        answer = answered_fast(fast, ask, view=view)
        assert answer.body == ordinary_answer.body
        assert caching(answer) == caching(ordinary_answer)
        assert ocsp.load_der_ocsp_response(answer.body).certificate_status is Status.GOOD

    serial_number = made["certificate"]["serial_number"]
    reason = {"reason": "keyCompromise"}
    revoke = f"/certificates/{serial_number}/revoke"
    assert request(fast, revoke, owners["first"], reason).status == 200
    for answer in (request(fast, "/certificates/ocsp", body=der), request(fast, path)):
        assert ocsp.load_der_ocsp_response(answer.body).certificate_status is Status.REVOKED


def caching(response: Response) -> list[tuple[str, str]]:
    changing = ("x-request-id", "date", "expires", "cache-control")  # they depend on the second
    lower = ((name.lower(), value) for name, value in response.headers.items())
    return sorted(pair for pair in lower if pair[0] not in changing)


def test_the_limit_of_samples_holds(fast: int, devices: Devices) -> None:
    token = devices.register()

    with ThreadPoolExecutor(8) as callers:
        statuses = list(callers.map(lambda _: send_sample(fast, token).status, range(300)))

    assert 429 in statuses
    assert 180 <= statuses.count(200) <= 240


class Headers(dict[str, str]):
    """The headers of a request as the web server passes them."""

    def get_all(self, name: str) -> list[str]:
        return [self[name]] if name in self else []


@pytest.mark.parametrize("error", [SynchronousOnlyOperation, ValueError])
def test_a_request_whose_fast_answer_fails_goes_the_ordinary_way(error: type[Exception]) -> None:
    class Failing(FastUpdatePoll):
        def question(self, request: FastRequest) -> FastQuestion:
            raise error

    threads: Any = SimpleNamespace(refuses=lambda *_: False)
    path = FastPath([Failing()], threads)
    headers = Headers(host="localhost", authorization=f"Bearer dev_{'a' * 43}")
    scope = SimpleNamespace(
        method="GET",
        path=Failing.path,
        query_string="",
        scheme="http",
        client="127.0.0.1:5",
        headers=headers,
    )
    path.learn(scope, Failing.status, [])

    assert asyncio.run(path.answer(scope, b"")) is None


def test_fast_answers_return_after_the_database_was_away(
    own: OwnServers, fast: int, devices: Devices
) -> None:
    token = devices.register()
    own.kill("postgres")
    try:
        assert connect(fast, token).status == 503
    finally:
        own.start("postgres")

    wait_until(lambda: connect(fast, token).status == 200, timeout=10)
    before = fast_answers(fast)
    wait_until(lambda: connect(fast, token).status == 200 and fast_answers(fast) > before)


def test_the_connection_of_the_fast_path_obeys_row_level_security(own: OwnServers) -> None:
    names = own.as_superuser(
        "SELECT DISTINCT usename, application_name FROM pg_stat_activity"
        " WHERE application_name = 'provisioning-web-fast'"
    )
    assert names == [("provisioning", "provisioning-web-fast")]
    assert (
        json.dumps(
            own.as_superuser("SELECT rolbypassrls FROM pg_roles WHERE rolname = 'provisioning'")
        )
        == "[[false]]"
    )
