"""Notifications to open portal pages."""

import asyncio
import http.cookiejar
import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client

from core.push.admission import PUSH_ENVIRON, Admission
from provisioning.embedded.endpoints import Endpoints
from provisioning.portal.live import MAX_DEVICES, PageListener, PagePush
from provisioning.tests.running import Up, call, running_up
from tenants.context import EVERY_TENANT
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory, TenantFactory


async def no_application(environ: dict[str, Any]) -> Any:
    raise AssertionError("The application must not be called.")


def events(listener: PageListener) -> list[Any]:
    return [json.loads(event["data"]) for event in listener.events()]


def test_an_event_notifies_the_pages_of_its_tenant_and_of_superusers() -> None:
    async def notify() -> None:
        push = PagePush(Admission(no_application))
        pages = {topic: PageListener("1") for topic in ("one", "other", EVERY_TENANT)}
        for topic, page in pages.items():
            push.listeners.add(topic, page)
        device = str(uuid4())
        message = {"tenant": "one", "names": ["alert.opened"], "devices": [device]}

        push.on_message(json.dumps(message).encode())

        event = {"names": ["alert.opened"], "devices": [device]}
        assert events(pages["one"]) == events(pages[EVERY_TENANT]) == [event]
        assert events(pages["other"]) == []

    asyncio.run(notify())


def test_notifications_for_a_slow_page_become_one_event() -> None:
    async def notify() -> None:
        page = PageListener("1")
        page.notify(["alert.opened"], ["b"])
        page.notify(["alert.closed"], ["a"])

        event = {"names": ["alert.closed", "alert.opened"], "devices": ["a", "b"]}
        assert events(page) == [event]
        assert events(page) == []

    asyncio.run(notify())


def test_an_event_with_very_many_devices_names_none() -> None:
    async def notify() -> None:
        page = PageListener("1")
        page.notify(["device.updated"], [str(uuid4()) for _ in range(MAX_DEVICES + 1)])

        assert events(page) == [{"names": ["device.updated"], "devices": None}]

    asyncio.run(notify())


def close_connection() -> None:
    """Close the connection of the thread that runs this function."""
    connection.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("has_message", [True, False], ids=["by message", "by regular check"])
def test_the_stream_of_a_removed_member_ends(has_message: bool) -> None:
    tenant = TenantFactory.create()
    members = [MembershipFactory.create(tenant=tenant, role=Role.VIEWER) for _ in range(2)]

    async def remove() -> tuple[bool, bool]:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))  # whose connection is closed below
        push = PagePush(Admission(no_application))
        pages = [PageListener(str(membership.user_id)) for membership in members]
        for page in pages:
            push.listeners.add(str(tenant.pk), page)
        await asyncio.to_thread(members[0].delete)
        if has_message:
            message = {"tenant": str(tenant.pk), "names": ["member.removed"], "devices": []}
            push.on_message(json.dumps(message).encode())
            await push._rechecking
        else:
            await push.recheck()
        await asyncio.to_thread(close_connection)
        return pages[0].is_over, pages[1].is_over

    assert asyncio.run(remove()) == (True, False)


@pytest.mark.django_db
def test_only_a_signed_in_user_may_open_the_stream(tenant: Tenant) -> None:
    client = Client()
    assert client.get("/admin/live/")["Location"].startswith("/admin/login/")
    user = MembershipFactory.create(tenant=tenant, role=Role.VIEWER).user
    client.force_login(user)
    in_push_server: dict[str, Any] = {PUSH_ENVIRON: True}

    response = client.get("/admin/live/", **in_push_server)

    assert response["Content-Type"] == "text/event-stream"
    assert response["X-Live-Topic"] == f"{tenant.pk} {user.pk}"


@pytest.mark.django_db
def test_the_web_server_sends_the_browser_to_the_push_servers_port(
    tenant: Tenant, settings: Any
) -> None:
    settings.PUBLIC_URL, settings.STREAM_URL = "http://a:8000", "http://a:9000"
    client = Client(headers={"Host": "localhost:8000"})
    client.force_login(MembershipFactory.create(tenant=tenant, role=Role.VIEWER).user)

    response = client.get("/admin/live/")

    assert response.status_code == 307
    assert response["Location"] == "http://localhost:9000/admin/live/"


@pytest.mark.django_db
def test_behind_a_proxy_that_does_not_route_the_stream_pages_poll(
    tenant: Tenant, settings: Any
) -> None:
    settings.PUBLIC_URL = settings.STREAM_URL = "http://testserver"
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=Role.VIEWER).user)

    response = client.get("/admin/live/")

    assert response.content == b"retry: 30000\n\n"
    assert "X-Live-Topic" not in response


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, migrated: Endpoints) -> Iterator[Up]:
    with running_up(tmp_path_factory.mktemp("live"), migrated) as running:
        running.start()
        yield running


@pytest.fixture
def browser(up: Up) -> Any:
    """Return a URL opener that is signed in as the first administrator."""
    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    portal = f"http://localhost:{up.port}/admin"
    password = re.search(r"password +(\S+)", up.output())
    assert password is not None

    def submit(url: str, **fields: str) -> str:
        form = opener.open(url, timeout=10).read().decode()
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
        assert token is not None
        data = urllib.parse.urlencode({**fields, "csrfmiddlewaretoken": token[1]}).encode()
        return str(opener.open(url, data, timeout=10).geturl())

    credentials = {"username": "admin@example.com", "password": password[1]}
    page = submit(f"{portal}/login/", **credentials, next="/admin/")
    assert page == f"{portal}/password_change/", "the printed password must be changed"
    new = {"new_password1": "a long and good one", "new_password2": "a long and good one"}
    submit(page, old_password=password[1], **new)
    return opener


def test_an_open_page_is_notified_of_a_new_device_within_two_seconds(up: Up, browser: Any) -> None:
    enrollment = re.search(r"enr_[\w-]{43}", up.output())
    assert enrollment is not None
    origin = f"http://localhost:{up.port}"
    request = urllib.request.Request(f"{origin}/admin/live/", headers={"Origin": origin})
    with browser.open(request, timeout=10) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert stream.headers["Access-Control-Allow-Origin"] == origin
        assert "X-Live-Topic" not in stream.headers
        assert stream.readline() == b"retry: 3000\n"
        event_with(stream, '"*"')  # a new page refreshes once

        started = time.monotonic()
        answer = call(up, "/devices/auto-register", enrollment[0], {"serial_number": "L"})
        event = json.loads(event_with(stream, "device.registered"))

    assert time.monotonic() - started < 2
    assert answer["device"]["id"] in event["devices"]


def event_with(stream: Any, text: str) -> str:
    """Return the data of the next event that contains the text."""
    while True:
        line = stream.readline().decode()
        if line.startswith("data: ") and text in line:
            return str(line.removeprefix("data: "))
