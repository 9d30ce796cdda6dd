"""Attacks on running servers: each is refused, and another tenant is served meanwhile."""

import gzip
import re
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from devices.registry.tests.waiting import wait_until
from provisioning.embedded.endpoints import Endpoints
from provisioning.tests.own_servers import OwnServers, own_servers, request

HOSTILE_BODIES = {
    "many empty lists": b"[" + b"[]," * 2_000_000 + b"1]",
    "many numbers": b'{"samples": [' + b"1," * 3_000_000 + b"1]}",
    "many names": b"{" + b",".join(b'"n%d":1' % n for n in range(500_000)) + b"}",
    "deep nesting": b"[" * 4_000_000,
    "a bomb": b"\0" * 300_000_000,
}
# Not refused: the field that is too long is dropped, and the sample is stored.
LONG_STRING = b'{"cpu_usage": 1, "x": "' + b"a" * 7_000_000 + b'"}'


@dataclass(frozen=True, slots=True)
class Site:
    """The running servers, and the tokens of an attacker and of another tenant's device."""

    own: OwnServers
    web: int
    stream: int
    attacker: str
    attacker_owner: str
    victim: str

    def victim_connects(self) -> bool:
        return request(self.web, "/devices/connect", self.victim, {}).status == 200

    def memory(self) -> int:
        """Return the memory of the server processes in bytes."""
        own = str(self.own.var)
        processes = [
            process
            for process in psutil.process_iter(["environ", "cmdline"])
            if (process.info["environ"] or {}).get("VAR_DIR") == own
            and "granian" in " ".join(process.info["cmdline"] or [])
        ]
        return sum(process.memory_info().rss for process in processes)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, migrated: Endpoints) -> Iterator[Site]:
    limits = {"RATE_ADDRESS": "200/min", "RATE_REFUSED": "100/min"}
    with (
        own_servers(tmp_path_factory.mktemp("attacks"), migrated) as own,
        own.serving("web", **limits) as web,
        own.serving("stream", STREAM_WORKERS="1") as stream,
    ):
        tokens = {}
        for name in ("attacker", "victim"):
            made = own.manage("create_tenant", name, "--owner", f"{name}@example.com", "--json")
            token = own.manage("create_enrollment_token", name, "--json")["token"]
            body = {"serial_number": f"SN-{name}"}
            device = request(web, "/devices/auto-register", token, body).body["token"]
            tokens[name] = (device, made["token"])
        yield Site(own, web, stream, *tokens["attacker"], tokens["victim"][0])


def send_gzip(port: int, token: str, body: bytes) -> int:
    sent = urllib.request.Request(
        f"http://127.0.0.1:{port}/devices/metrics",
        data=gzip.compress(body, 1),
        headers={
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Content-Encoding": "gzip",
        },
    )
    try:
        with urllib.request.urlopen(sent, timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def while_running(attack: Callable[[], Any], check: Callable[[], bool]) -> Any:
    """Run an attack, and meanwhile require the check to succeed repeatedly."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(attack)
        while not running.done():
            assert check()
            time.sleep(0.5)  # a device has a limit of its own
        return running.result()


def test_hostile_metrics_are_refused_and_their_memory_is_freed(site: Site) -> None:
    assert send_gzip(site.web, site.attacker, b'{"cpu_usage": 1}') == 200
    before = site.memory()
    bodies = [*HOSTILE_BODIES.values(), LONG_STRING]

    def attack() -> list[tuple[bytes, int]]:
        with ThreadPoolExecutor(16) as callers:
            tries = [
                (body, callers.submit(send_gzip, site.web, site.attacker, body))
                for body in (bodies * 3)[:16]
            ]
            return [(body, each.result()) for body, each in tries]

    answers = while_running(attack, site.victim_connects)

    assert {status for body, status in answers if body is not LONG_STRING} <= {400, 413, 429}
    assert {status for body, status in answers if body is LONG_STRING} <= {200, 429}
    wait_until(lambda: site.memory() < before + 150_000_000)
    assert site.victim_connects()


def test_samples_of_one_device_are_limited_by_number_and_by_bytes(site: Site) -> None:
    batch = b"[" + b",".join([b'{"cpu_usage": 1}'] * 1000) + b"]"
    statuses = [send_gzip(site.web, site.attacker, batch) for _ in range(20)]

    assert 429 in statuses
    assert site.victim_connects()


def test_the_openapi_document_costs_more_than_other_requests(site: Site) -> None:
    def attack() -> list[int]:
        with ThreadPoolExecutor(8) as callers:
            return list(callers.map(lambda _: request(site.web, "/schema").status, range(40)))

    statuses = while_running(attack, site.victim_connects)

    assert set(statuses) == {200, 429}


def test_unknown_methods_and_paths_make_no_new_time_series(site: Site) -> None:
    for number in range(20):
        request(site.web, "/devices/me", method=f"INVENTED{number}")
        request(site.web, f"/no-such-path-{number}")

    series = request(site.web, "/metrics").body.decode()
    assert "INVENTED" not in series
    assert "no-such-path" not in series
    assert 'method="other"' in series


def test_paths_that_do_not_exist_are_limited(site: Site) -> None:
    statuses = {request(site.web, f"/guess/{number}").status for number in range(300)}

    assert statuses == {404, 429}
    assert site.victim_connects()


def test_pages_without_a_sign_in_are_limited(site: Site) -> None:
    statuses = {request(site.web, "/admin/login/").status for _ in range(250)}

    assert 429 in statuses
    assert statuses <= {200, 429}
    assert site.victim_connects()


def test_bodies_that_never_arrive_hold_no_thread(site: Site) -> None:
    head = b"POST /devices/connect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
    held = [connect_to(site.web) for _ in range(200)]
    try:
        for connection in held:
            connection.sendall(head)
        assert all(site.victim_connects() for _ in range(20))
    finally:
        for connection in held:
            connection.close()


def test_one_device_with_many_connections_delays_nobody(site: Site) -> None:
    def attack() -> list[int]:
        with ThreadPoolExecutor(32) as callers:
            tries = [
                callers.submit(request, site.web, "/devices/connect", site.attacker, {})
                for _ in range(600)
            ]
            return [each.result().status for each in tries]

    statuses = while_running(attack, site.victim_connects)

    assert 429 in statuses
    assert set(statuses) <= {200, 429}


def connect_to(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.settimeout(40)
    return connection


def received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1000)
    except ConnectionError:
        return b""


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_the_push_server_bounds_the_size_and_number_of_headers(site: Site) -> None:
    many = b"".join(b"X-%d: 1\r\n" % number for number in range(200))
    for head in (b"X-Long: " + b"a" * 100_000, many, b"X-Endless: " + b"a" * 10_000_000):
        with closing(connect_to(site.stream)) as connection:
            try:
                connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n" + head)
                connection.sendall(b"\r\n\r\n")
            except ConnectionError:
                pass
            assert received(connection)[:12] in (b"HTTP/1.1 431", b"")
    assert request(site.stream, "/health/live").status == 200


def test_the_push_server_closes_idle_connections_and_bounds_their_number(site: Site) -> None:
    idle = [connect_to(site.stream) for _ in range(300)]
    try:
        time.sleep(1)
        closed_at_once = sum(is_closed(connection) for connection in idle)
        assert 50 < closed_at_once < 150
        idle[0].settimeout(40)
        started = time.monotonic()
        assert received(idle[0]) == b""
        assert time.monotonic() - started < 30
    finally:
        for connection in idle:
            connection.close()
    wait_until(lambda: request(site.stream, "/health/live").status == 200)


def test_a_stream_still_works_beside_idle_connections(site: Site) -> None:
    with closing(connect_to(site.stream)) as connection:
        connection.sendall(
            b"GET /devices/me/commands/stream HTTP/1.1\r\nHost: localhost\r\n"
            b"Accept: text/event-stream\r\nAuthorization: Bearer "
            + site.victim.encode()
            + b"\r\n\r\n"
        )
        assert re.match(rb"HTTP/1.1 200", received(connection))
