"""Live updates of open pages: the stream of server-sent events."""

import asyncio
import http.cookiejar
import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from provisioning.streams import BEHIND, EVERYTHING, Stream, Streams
from provisioning.tests.running import Up, call, running_up
from tenants.context import EVERY_TENANT
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory


def queued_hints(stream: Stream) -> list[Any]:
    hints = []
    while not stream.waiting.empty():
        hints.append(json.loads(stream.waiting.get_nowait()))
    return hints


def test_a_hint_is_sent_to_its_tenant_and_to_superusers() -> None:
    async def pass_on_one_hint() -> None:
        member = Stream("one")
        member_of_another = Stream("other")
        superuser = Stream(EVERY_TENANT)
        streams = Streams()
        streams._open |= {member, member_of_another, superuser}
        device = str(uuid4())
        hint = {"tenant": "one", "names": ["alert.opened"], "devices": [device]}

        streams._pass_on(json.dumps(hint).encode())

        expected = [{"names": ["alert.opened"], "devices": [device]}]
        assert queued_hints(member) == expected
        assert queued_hints(member_of_another) == []
        assert queued_hints(superuser) == expected

    asyncio.run(pass_on_one_hint())


def test_the_queue_of_a_slow_reader_is_replaced_by_one_hint() -> None:
    async def overflow_queue() -> None:
        stream = Stream("one")
        for _ in range(BEHIND + 1):
            stream.offer('{"names": [], "devices": []}')
        assert queued_hints(stream) == [json.loads(EVERYTHING)]

    asyncio.run(overflow_queue())


@pytest.mark.django_db
def test_the_stream_requires_a_signed_in_member(tenant: Tenant) -> None:
    client = Client()
    assert client.get("/admin/live/").status_code == 302
    client.force_login(MembershipFactory.create(tenant=tenant, role=Role.VIEWER).user)

    response = client.get("/admin/live/")

    assert response["Content-Type"] == "text/event-stream"
    assert response["X-Live-Topic"] == str(tenant.pk)
    assert response.content == b"retry: 3000\n\n"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running_up(tmp_path_factory.mktemp("live")) as running:
        running.start()
        yield running


@pytest.fixture
def browser(up: Up) -> Any:
    """An opener that is signed in as the first administrator."""
    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    url = f"http://localhost:{up.port}/admin/login/"
    form = opener.open(url, timeout=10).read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
    password = re.search(r"password +(\S+)", up.output())
    assert token is not None
    assert password is not None
    fields = {
        "username": "admin@example.com",
        "password": password[1],
        "csrfmiddlewaretoken": token[1],
        "next": "/admin/",
    }
    opener.open(url, urllib.parse.urlencode(fields).encode(), timeout=10)
    return opener


def test_an_open_page_is_notified_of_a_new_device_within_two_seconds(
    up: Up, browser: Any
) -> None:
    enrollment = re.search(r"enr_[\w-]{43}", up.output())
    assert enrollment is not None
    with browser.open(f"http://localhost:{up.port}/admin/live/", timeout=10) as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        assert "X-Live-Topic" not in stream.headers
        assert stream.readline() == b"retry: 3000\n"
        next_hint(stream, EVERYTHING)  # sent to every new stream

        started = time.monotonic()
        result = call(
            up, "/devices/auto-register", enrollment[0], {"serial_number": "L"}
        )
        hint = json.loads(next_hint(stream, "device.registered"))

    assert time.monotonic() - started < 2
    assert result["device"]["id"] in hint["devices"]


def next_hint(stream: Any, text: str) -> str:
    """Return the next hint that contains the text."""
    while True:
        line = stream.readline().decode()
        if line.startswith("data: ") and text in line:
            return str(line.removeprefix("data: "))
