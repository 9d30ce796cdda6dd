"""Tests of uploads and downloads with a real web server. Files are on a disk or in S3."""

import hashlib
import http.client
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from django.test import override_settings
from moto.server import ThreadedMotoServer

from accounts.services.tokens import issue_api_token
from certificates.tests.external_tools import find_tool, requires_tools
from devices.registry.services.credentials import renew_device_token
from devices.registry.tests.waiting import wait_until
from devices.updates.models import SoftwareUpdate
from devices.updates.tests.rollouts import (
    create_devices,
    create_draft,
    create_member,
    run_due_steps,
    start_rollout,
)
from provisioning.embedded.endpoints import accepts_connections
from provisioning.roles import command_line
from provisioning.tests.processes import subprocess_environment
from provisioning.tests.running import free_ports
from provisioning.var import BASE
from tenants.context import tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db(transaction=True)

SIZE = 128 << 20  # bytes; many times what a process may keep in memory
MAX_GROWTH = 64 << 20  # bytes of memory
PIECE = bytes(range(256)) * 4096  # 1 MB
BUCKET = "packages"


@pytest.fixture
def store(request: Any, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Return the environment variables that select the package storage."""
    if request.param != "s3":
        variables = {"PACKAGES_ROOT": str(tmp_path / "packages")}
        if request.param == "proxied disk":
            variables["PACKAGES_ACCEL"] = "/packages"
        yield variables
        return
    (port,) = free_ports(1)
    server = ThreadedMotoServer(port=port)
    server.start()
    variables = {
        "PACKAGES_S3_BUCKET": BUCKET,
        "PACKAGES_S3_ENDPOINT": f"http://127.0.0.1:{port}",
        "PACKAGES_S3_REGION": "us-east-1",
        "PACKAGES_S3_ACCESS_KEY": "key",
        "PACKAGES_S3_SECRET_KEY": "secret",
        "PACKAGES_S3_PREFIX": "fleet",
    }
    boto3.client(
        "s3",
        endpoint_url=variables["PACKAGES_S3_ENDPOINT"],
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    ).create_bucket(Bucket=BUCKET)
    yield variables
    server.stop()


@dataclass
class Server:
    port: int
    process: "subprocess.Popen[bytes]"
    uploads: Path
    token: str  # of a member who may upload packages
    open: ExitStack = field(default_factory=ExitStack)

    def connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self.open.callback(connection.close)
        return connection

    def put(self, package: SoftwareUpdate, body: Any, **headers: str) -> Any:
        connection = self.connect()
        headers = {"Authorization": f"Bearer {self.token}", **headers}
        connection.request("PUT", path_of(package), body, headers)
        with connection.getresponse() as response:
            return response.status, json.loads(response.read())

    def get(self, package: SoftwareUpdate, token: str, **headers: str) -> Any:
        connection = self.connect()
        headers = {"Authorization": f"Bearer {token}", **headers}
        connection.request("GET", path_of(package), headers=headers)
        return self.open.enter_context(connection.getresponse())

    def memory(self) -> int:
        """Return the memory of all processes of the server, in bytes."""
        root = psutil.Process(self.process.pid)
        return sum(process.memory_info().rss for process in [root, *root.children(recursive=True)])

    def leftover_files(self) -> list[str]:
        return os.listdir(self.uploads) if self.uploads.exists() else []


@pytest.fixture
def rate_window() -> int:
    """Return the seconds over which the rate of an upload is measured."""
    return 20


@pytest.fixture
def server(
    store: dict[str, str], rate_window: int, tenant: Tenant, tmp_path: Path
) -> Iterator[Server]:
    (port,) = free_ports(1)
    uploads = tmp_path / "spool"
    with override_settings(WEB_WORKERS=1):  # each process counts its own uploads
        command = command_line("web", port=port)
    process = subprocess.Popen(
        command,
        env={
            **subprocess_environment(),
            **store,
            "UPLOADS_ROOT": str(uploads),
            "UPLOAD_RATE_WINDOW_SECONDS": str(rate_window),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    membership = MembershipFactory.create(tenant=tenant, role=Role.ADMIN)
    _, token = issue_api_token(membership=membership, name="test", now=datetime.now(UTC))
    running = Server(port, process, uploads, token)
    wait_until(lambda: _is_live(running), timeout=90)
    with running.open:
        yield running
    process.terminate()
    process.wait(timeout=60)


def _is_live(server: Server) -> bool:
    connection = server.connect()
    with suppress(OSError):
        connection.request("GET", "/health/live")
        with connection.getresponse() as response:
            return response.status == 200
    return False


def path_of(package: SoftwareUpdate) -> str:
    return f"/updates/packages/{package.pk}/file"


def pieces() -> Iterator[bytes]:
    for _ in range(SIZE // len(PIECE)):
        yield PIECE


def digest() -> str:
    whole = hashlib.sha256()
    for piece in pieces():
        whole.update(piece)
    return whole.hexdigest()


@pytest.fixture
def package(acting: Tenant) -> SoftwareUpdate:
    return create_draft(datetime.now(UTC))


def roll_out(tenant: Tenant, package: SoftwareUpdate) -> str:
    """Roll a package out to a device. Return the token of the device."""
    now = datetime.now(UTC)
    (device,) = create_devices(tenant, 1)
    package.refresh_from_db()
    package.state = SoftwareUpdate.State.RELEASED
    package.save()
    start_rollout(package, create_member(tenant), now)
    run_due_steps(now)
    with tenant_scope(tenant.pk):
        return renew_device_token(device, now=now)


both = pytest.mark.parametrize("store", ["disk", "s3"], indirect=True)
on_disk = pytest.mark.parametrize("store", ["disk"], indirect=True)


@both
def test_large_files_are_streamed_with_constant_memory(
    server: Server, acting: Tenant, package: SoftwareUpdate
) -> None:
    """Upload and download a large file without using more memory.

    Each thread allocates its buffers once, so requests are sent before memory is measured.
    """
    large = {"Content-Length": str(SIZE)}
    for _ in range(3):
        status, response = server.put(package, pieces(), **large)
    before = server.memory()
    status, response = server.put(package, pieces(), **large)
    assert (status, response["size"], response["sha256"]) == (200, SIZE, digest())
    assert server.memory() - before < MAX_GROWTH

    token = roll_out(acting, package)
    for _ in range(3):
        download_digest(server, package, token)
    before = server.memory()
    assert download_digest(server, package, token) == (200, digest())
    assert server.memory() - before < MAX_GROWTH
    assert server.leftover_files() == []


def download_digest(server: Server, package: SoftwareUpdate, token: str) -> tuple[int, str]:
    response, whole = server.get(package, token), hashlib.sha256()
    while piece := response.read(1 << 20):
        whole.update(piece)
    return response.status, whole.hexdigest()


@both
def test_an_interrupted_download_is_resumed(
    server: Server, acting: Tenant, package: SoftwareUpdate
) -> None:
    content = os.urandom(3_000_017)
    status, response = server.put(package, content)
    assert status == 200, response
    token = roll_out(acting, package)

    broken = server.get(package, token)
    received = broken.read(1_000_003)
    broken.close()
    rest = server.get(
        package, token, **{"Range": f"bytes={len(received)}-", "If-Range": broken.headers["ETag"]}
    )

    assert rest.status == 206
    assert rest.headers["Content-Range"] == f"bytes {len(received)}-3000016/3000017"
    assert received + rest.read() == content
    one = server.get(package, token, Range="bytes=5-5")
    assert (one.status, one.read(), one.headers["Content-Length"]) == (206, content[5:6], "1")
    beyond = server.get(package, token, Range="bytes=3000017-")
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, "bytes */3000017")


@on_disk
def test_a_file_without_a_content_length_is_rejected(
    server: Server, package: SoftwareUpdate
) -> None:
    """A file without a declared length is rejected.

    Without the length, the server could not detect that an upload was interrupted.
    """
    status, response = server.put(package, iter([PIECE, PIECE[:100]]))

    assert (status, response["errors"][0]["code"]) == (400, "length_required")
    assert server.leftover_files() == []


@on_disk
def test_an_interrupted_upload_stores_nothing(server: Server, package: SoftwareUpdate) -> None:
    connection = server.connect()
    connection.putrequest("PUT", path_of(package))
    connection.putheader("Authorization", f"Bearer {server.token}")
    connection.putheader("Content-Length", str(10 * len(PIECE)))
    connection.endheaders()
    connection.send(PIECE)
    wait_until(lambda: bool(server.leftover_files()))
    connection.close()

    wait_until(lambda: server.leftover_files() == [])
    package.refresh_from_db()
    assert (package.sha256, package.stored_name) == ("", "")


def begin_upload(server: Server, package: SoftwareUpdate) -> http.client.HTTPConnection:
    connection = server.connect()
    connection.putrequest("PUT", path_of(package))
    connection.putheader("Authorization", f"Bearer {server.token}")
    connection.putheader("Content-Length", str(2_000_000_000))
    connection.endheaders()
    connection.send(b"x")
    return connection


@pytest.mark.parametrize("store", ["disk"], indirect=True)
@pytest.mark.parametrize("rate_window", [600])
def test_a_tenant_has_a_share_of_the_uploads(server: Server, package: SoftwareUpdate) -> None:
    first = [begin_upload(server, package) for _ in range(2)]
    wait_until(lambda: len(server.leftover_files()) == 2)

    third = begin_upload(server, package)

    assert server.open.enter_context(third.getresponse()).status == 429
    for connection in first:
        connection.close()
    wait_until(lambda: server.leftover_files() == [])


@pytest.mark.parametrize("store", ["disk"], indirect=True)
@pytest.mark.parametrize("rate_window", [2])
def test_a_slow_sender_is_disconnected(server: Server, package: SoftwareUpdate) -> None:
    connection = begin_upload(server, package)
    wait_until(lambda: len(server.leftover_files()) == 1)

    def is_refused() -> bool:
        with suppress(OSError):
            connection.send(b"x")  # a few bytes each second, so only the rate is too low
        return server.leftover_files() == []

    wait_until(is_refused, timeout=60)
    with suppress(http.client.HTTPException, OSError):
        assert connection.getresponse().status == 408


@on_disk
def test_an_unauthenticated_upload_stores_nothing(server: Server, package: SoftwareUpdate) -> None:
    connection = server.connect()
    connection.putrequest("PUT", path_of(package))
    connection.putheader("Content-Length", str(10 * len(PIECE)))
    connection.endheaders()
    connection.send(PIECE[:1000])

    response = server.open.enter_context(connection.getresponse())

    assert response.status == 401
    assert server.leftover_files() == []


@on_disk
def test_a_declared_size_above_the_limit_is_rejected_before_the_upload(
    server: Server, package: SoftwareUpdate
) -> None:
    connection = server.connect()
    connection.putrequest("PUT", path_of(package))
    connection.putheader("Authorization", f"Bearer {server.token}")
    connection.putheader("Content-Length", str(10**13))
    connection.endheaders()

    response = server.open.enter_context(connection.getresponse())

    assert response.status == 400
    assert json.loads(response.read())["errors"][0]["code"] == "upload_too_large"


@contextmanager
def proxied(server: Server, root: Path, folder: Path) -> Iterator[int]:
    """Run nginx as a proxy of the server. Its file locations are those of `deploy/nginx`."""
    (port,) = free_ports(1)
    configuration = (BASE / "deploy/nginx/provisioning.conf").read_text()
    locations = configuration[configuration.index("    # The file of a package") :]
    locations = locations[: locations.index("    location /metrics")]
    locations = locations.replace("/var/lib/packages/", f"{root}/")
    conf = folder / "nginx.conf"
    conf.write_text(
        f"daemon off; pid {folder}/pid; error_log stderr crit; events {{}}"
        f" http {{ access_log off; client_body_temp_path {folder}/body;"
        f" proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;"
        f" uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;"
        f" upstream web {{ server 127.0.0.1:{server.port}; }}"
        f" server {{ listen 127.0.0.1:{port}; proxy_http_version 1.1;"
        f" proxy_set_header Host localhost; {locations} }} }}"
    )
    nginx = find_tool("nginx")
    assert nginx is not None
    arguments = ["-g", "user root;"] if os.geteuid() == 0 else []
    process = subprocess.Popen([nginx, "-c", str(conf), "-p", str(folder), *arguments])
    direct, server.port = server.port, port
    wait_until(lambda: accepts_connections(port))
    try:
        yield port
    finally:
        server.port = direct
        process.terminate()
        process.wait(timeout=30)


@requires_tools("nginx")
@pytest.mark.parametrize("store", ["proxied disk"], indirect=True)
def test_the_proxy_streams_uploads_and_sends_files(
    server: Server, acting: Tenant, package: SoftwareUpdate, tmp_path: Path
) -> None:
    content = os.urandom(3_000_017)
    with proxied(server, tmp_path / "packages", tmp_path):
        status, response = server.put(package, content)
        assert status == 200, response
        token = roll_out(acting, package)

        whole = server.get(package, token)
        part = server.get(package, token, Range="bytes=1000-1999")
        again = {"Range": "bytes=5-", "If-Range": whole.headers["ETag"]}
        rest = server.get(package, token, **again)
        beyond = server.get(package, token, Range="bytes=3000017-")
        unauthenticated = server.get(package, "dev_unknown")

        assert (whole.status, whole.read()) == (200, content)
        assert whole.headers["Server"].startswith("nginx")
        assert (part.status, part.read()) == (206, content[1000:2000])
        assert (rest.status, rest.read()) == (206, content[5:])
        assert beyond.status == 416
        assert unauthenticated.status == 401
        direct = http.client.HTTPConnection("127.0.0.1", server.port)
        server.open.callback(direct.close)
        direct.request("GET", f"/packages/{package.pk}")
        assert server.open.enter_context(direct.getresponse()).status == 404
