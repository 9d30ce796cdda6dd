"""Commands arrive by a stream, by long polling, or with the next connect."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any

import pytest

from provisioning_agent import push as push_module
from provisioning_agent.http import Http
from provisioning_agent.push import Push
from provisioning_agent.session import Backoff, Session
from provisioning_agent.state import MemoryStore

Handler = Callable[[dict[str, str], str], Awaitable[bytes | None]]
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Serve HTTP. The handler gets the headers and the path, and returns the whole response."""

    answering: set[asyncio.Task[Any]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        answering.add(task)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
                response = await handler(headers, head[0].split()[1])
                if response is not None:
                    writer.write(response)
                    await writer.drain()
        finally:  # a connection may have begun while the server stops
            writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/stream"
        server.close()
        await asyncio.sleep(0)  # lets the last connections begin
        await asyncio.gather(*answering)


class Listener:
    """Count what a push connection tells."""

    def __init__(self) -> None:
        self.fetched, self.updates = 0, 0

    async def fetch(self) -> None:
        self.fetched += 1

    def check_update(self) -> None:
        self.updates += 1


def listen(handler: Handler, until: Callable[[Listener], bool]) -> Listener:
    """Keep a push connection open until the listener has heard enough."""
    listener = Listener()

    async def run() -> None:
        async with serving(handler) as url:
            http = Http(url)
            session = Session(http, MemoryStore(), now=lambda: 0.0, random=Random(1))
            push = Push(session, fetch=listener.fetch, check_update=listener.check_update)
            push.start(url)
            async with asyncio.timeout(20):
                while not until(listener):
                    await asyncio.sleep(0.01)
            push.stop()
            await asyncio.sleep(0)  # lets the task end
            await http.close()

    asyncio.run(run())
    return listener


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "pause", lambda self: 0.01)
    monkeypatch.setattr(push_module, "LONG_POLL_MINIMUM", 0.0)


def test_an_event_makes_the_agent_fetch_commands() -> None:
    async def handler(headers: dict[str, str], path: str) -> bytes:
        return STREAM + b'retry: 10\n\nid: 18\ndata: {"sequence": 18}\n\n'

    assert listen(handler, lambda listener: listener.fetched > 0).updates == 0


def test_an_update_event_makes_the_agent_ask_for_the_update() -> None:
    async def handler(headers: dict[str, str], path: str) -> bytes:
        return STREAM + b"retry: 10\n\nevent: update\ndata: {}\n\n"

    assert listen(handler, lambda listener: listener.updates > 0).fetched == 0


def test_a_new_stream_names_the_last_event() -> None:
    seen: list[str] = []

    async def handler(headers: dict[str, str], path: str) -> bytes:
        seen.append(headers["last-event-id"])
        return STREAM + b"retry: 10\n\nid: 18\ndata: {}\n\n"

    listen(handler, lambda listener: len(seen) > 1)

    assert seen[:2] == ["0", "18"]


def test_long_polling_is_used_where_streams_do_not_get_through() -> None:
    async def handler(headers: dict[str, str], path: str) -> bytes | None:
        if headers.get("accept") == "text/event-stream":
            return None  # a proxy that ends the stream without any data
        sequence = 5 if path.endswith("after=0") else 0
        body = b'{"sequence": %d, "update_waiting": false}' % sequence
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    assert listen(handler, lambda listener: listener.fetched > 0).fetched == 1


def test_a_page_of_a_proxy_does_not_end_the_agent() -> None:
    answers = iter([b"HTTP/1.1 200 OK\r\n\r\n<html>id: x\ndata\n\n"])

    async def handler(headers: dict[str, str], path: str) -> Any:
        return next(answers, STREAM + b"id: 1\ndata: {}\n\n")

    assert listen(handler, lambda listener: listener.fetched > 0).fetched > 0
