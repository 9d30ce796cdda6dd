"""Pages that change while they are open: the stream that tells them to look again."""

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


def told(stream: Stream) -> list[Any]:
    waiting = []
    while not stream.waiting.empty():
        waiting.append(json.loads(stream.waiting.get_nowait()))
    return waiting


def test_a_hint_goes_to_the_pages_of_its_tenant_and_to_the_superusers() -> None:
    async def passing() -> None:
        ours, theirs, every = Stream("one"), Stream("other"), Stream(EVERY_TENANT)
        streams = Streams()
        streams._open |= {ours, theirs, every}
        device = str(uuid4())
        hint = {"tenant": "one", "names": ["alert.opened"], "devices": [device]}

        streams._pass_on(json.dumps(hint).encode())

        seen = [{"names": ["alert.opened"], "devices": [device]}]
        assert (told(ours), told(theirs), told(every)) == (seen, [], seen)

    asyncio.run(passing())


def test_for_a_reader_that_lags_many_hints_become_one() -> None:
    async def lagging() -> None:
        stream = Stream("one")
        for _ in range(BEHIND + 1):
            stream.offer('{"names": [], "devices": []}')
        assert told(stream) == [json.loads(EVERYTHING)]

    asyncio.run(lagging())


@pytest.mark.django_db
def test_the_head_of_the_stream_is_for_whoever_is_signed_in(tenant: Tenant) -> None:
    client = Client()
    assert client.get("/admin/live/").status_code == 302
    client.force_login(MembershipFactory.create(tenant=tenant, role=Role.VIEWER).user)

    answer = client.get("/admin/live/")

    assert answer["Content-Type"] == "text/event-stream"
    assert answer["X-Live-Topic"] == str(tenant.pk)
    assert answer.content == b"retry: 3000\n\n"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running_up(tmp_path_factory.mktemp("live")) as running:
        running.start()
        yield running


@pytest.fixture
def browser(up: Up) -> Any:
    """Signed in as the first administrator."""
    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    where = f"http://localhost:{up.port}/admin/login/"
    form = opener.open(where, timeout=10).read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
    password = re.search(r"password +(\S+)", up.output())
    assert token is not None
    assert password is not None
    said = {
        "username": "admin@example.com",
        "password": password[1],
        "csrfmiddlewaretoken": token[1],
        "next": "/admin/",
    }
    opener.open(where, urllib.parse.urlencode(said).encode(), timeout=10)
    return opener


def test_an_open_page_hears_of_a_new_device_within_two_seconds(
    up: Up, browser: Any
) -> None:
    enrollment = re.search(r"enr_[\w-]{43}", up.output())
    assert enrollment is not None
    with browser.open(f"http://localhost:{up.port}/admin/live/", timeout=10) as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        assert "X-Live-Topic" not in stream.headers
        assert stream.readline() == b"retry: 3000\n"
        hint_after(stream, EVERYTHING)  # whoever comes looks once

        begun = time.monotonic()
        made = call(up, "/devices/auto-register", enrollment[0], {"serial_number": "L"})
        hint = json.loads(hint_after(stream, "device.registered"))

    assert time.monotonic() - begun < 2
    assert made["device"]["id"] in hint["devices"]


def hint_after(stream: Any, word: str) -> str:
    """The first hint that has the word in it."""
    while True:
        line = stream.readline().decode()
        if line.startswith("data: ") and word in line:
            return str(line.removeprefix("data: "))
