"""The push channel: a process of its own that holds one quiet connection for each device.

It says which number the device's last command has, and that an update is meant for it.
Both the device then fetches like anything else. As server-sent events that goes on for as
long as the connection holds (WHATWG HTML §9.2); as a long poll it is said once.

Who may listen, the application decides, as it decides everything else: a request is
first answered by it as any other. What it takes to hold on begins after that.
"""

import asyncio
import json
import random
import resource
import signal
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import Any

from asgiref.wsgi import WsgiToAsgiInstance
from django.conf import settings
from prometheus_client import Gauge

from devices.remote_control.api.device_views import STREAM_HEADER
from devices.remote_control.push.subscriptions import Listener, Wakeups
from devices.remote_control.services.connect_response import PATH

LISTENING = Gauge(
    "push_channel_devices",
    "Devices that hold the push channel",
    multiprocess_mode="livesum",
)

QUIET = 25.0  # seconds; a comment keeps the networks between awake
LONGEST = 3600.0  # seconds; then the device comes again, and shows who it is
COME_AGAIN = (1.0, 15.0)  # seconds: chance keeps a fleet from coming all at once
MOST_LISTENERS = 20_000  # of one process
MOST_IN_LINE = 1000  # that are being let in
ANSWERED = (PATH, "/health/live", "/health/ready", "/metrics")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Answering = Callable[[dict[str, Any]], tuple[int, list[tuple[str, str]], bytes]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Application:
    """One coroutine for each connection (ASGI 3)."""

    def __init__(self, answered: Answering) -> None:
        """
        Args:
            answered: answers a request (PEP 3333) as the application does.
        """
        self.answered = answered
        self.threads = ThreadPoolExecutor(settings.WEB_THREADS, "admission")
        self.in_line = 0
        self.wakeups: Wakeups
        self.reading: asyncio.Task[None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        _allow_many_connections()
        self.wakeups = Wakeups()
        self.reading = asyncio.create_task(self.wakeups.read())
        with suppress(TimeoutError):  # without Redis it goes on with the database
            await asyncio.wait_for(self.wakeups.is_subscribed.wait(), 3)
        self._end_in_good_order()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.reading.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    def _end_in_good_order(self) -> None:
        """Told to end, say so to the devices first: the server would cut them off."""
        loop = asyncio.get_running_loop()

        def ending(then: Any, number: int, frame: Any) -> None:
            loop.call_soon_threadsafe(self.wakeups.end_all)
            if callable(then):
                then(number, frame)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, partial(ending, signal.getsignal(number)))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if path == "/health/live" and method in ("GET", "HEAD"):
            # Here and now: whoever asks ends a process that does not answer.
            await _answer(send, 200, [_JSON], b'{"status": "ok"}')
        elif path not in ANSWERED or method != "GET":
            await _refuse(send, 404, "not_found", "Here is the push channel alone.")
        elif path == PATH and self._is_full():
            sentence = "Too many devices come at once."
            await _refuse(send, 503, "unavailable", sentence, come_again=True)
        else:
            await self._admit(scope, receive, send)

    def _is_full(self) -> bool:
        return self.in_line >= MOST_IN_LINE or len(self.wakeups) >= MOST_LISTENERS

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does; who may listen then does so."""
        self.in_line += 1
        try:
            environ = _environ(scope)
            loop = asyncio.get_running_loop()
            status, headers, content = await loop.run_in_executor(
                self.threads, self.answered, environ
            )
        except ValueError:
            await _refuse(send, 400, "bad_request", "The headers cannot be read.")
            return
        finally:
            self.in_line -= 1
        place = next((said for name, said in headers if name == STREAM_HEADER), None)
        headers = [pair for pair in headers if pair[0] != STREAM_HEADER]
        if place is None:
            await _answer(send, status, headers, content)
            return
        device_id, latest, seen = place.split(" ")
        wants = dict(scope["headers"]).get(b"accept", b"")
        speak = _stream if b"text/event-stream" in wants else _poll
        listener = self.wakeups.join(device_id, int(latest))
        LISTENING.inc()
        going = asyncio.create_task(_until_gone(receive, listener))
        try:
            await speak(listener, int(seen), headers, send)
        finally:
            LISTENING.dec()
            self.wakeups.leave(device_id, listener)
            going.cancel()


async def _stream(
    listener: Listener, seen: int, headers: list[tuple[str, str]], send: Send
) -> None:
    """Events until the device goes, or listens elsewhere, or for `LONGEST`.

    The first says at once what the device has not seen; also when it has seen more than
    there is: it fetches then, and the numbers go on from there.
    """
    kept = [pair for pair in headers if pair[0].lower() not in _OF_A_WHOLE]
    await send(_start(200, [*kept, *_OF_A_STREAM]))
    again = int(1000 * random.uniform(*COME_AGAIN))
    await _more(send, f"retry: {again}\n\n")
    loop = asyncio.get_running_loop()
    end = loop.time() + LONGEST * random.uniform(0.8, 1)
    is_ahead = seen > listener.sequence
    while not listener.is_over and loop.time() < end:
        listener.changed.clear()
        if listener.sequence > seen or is_ahead:
            is_ahead = False
            seen = listener.sequence
            await _more(send, f'id: {seen}\ndata: {{"sequence": {seen}}}\n\n')
        if listener.has_update:
            listener.has_update = False
            await _more(send, "event: update\ndata: {}\n\n")
        if not await _changed(listener, QUIET):
            await _more(send, ": still here\n\n")
    await send({"type": "http.response.body", "body": b""})


async def _poll(
    listener: Listener, seen: int, headers: list[tuple[str, str]], send: Send
) -> None:
    """One answer: at once if there is something, else when there is, or with the same."""
    if listener.sequence == seen:
        await _changed(listener, QUIET)
    kept = [pair for pair in headers if pair[0].lower() != "content-length"]
    said = {"sequence": listener.sequence, "update_waiting": listener.has_update}
    told = json.dumps(said).encode()
    await _answer(send, 200, [*kept, ("content-length", str(len(told)))], told)


async def _changed(listener: Listener, within: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            await listener.changed.wait()
            return True
    return False


async def _until_gone(receive: Receive, listener: Listener) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    listener.end()


_JSON = ("content-type", "application/json")
_OF_A_WHOLE = {"content-length", "content-type", "connection"}
_OF_A_STREAM = [
    ("content-type", "text/event-stream"),
    ("x-accel-buffering", "no"),  # a proxy between passes each event on at once
]


def _environ(scope: Scope) -> dict[str, Any]:
    """The same request as WSGI says it, without a body."""
    named = [pair for pair in scope["headers"] if b"_" not in pair[0]]
    bare = [pair for pair in named if pair[0] not in (b"content-length", b"expect")]
    instance: Any = WsgiToAsgiInstance(None)  # type: ignore[no-untyped-call]
    instance.scope = {**scope, "headers": bare}
    environ: dict[str, Any] = instance.build_environ(instance.scope, BytesIO())
    return environ


def _start(status: int, headers: list[tuple[str, str]]) -> dict[str, Any]:
    encoded = [
        (name.lower().encode(), said.encode("latin-1")) for name, said in headers
    ]
    return {"type": "http.response.start", "status": status, "headers": encoded}


async def _more(send: Send, text: str) -> None:
    body = text.encode()
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _answer(
    send: Send, status: int, headers: list[tuple[str, str]], content: bytes
) -> None:
    await send(_start(status, headers))
    await send({"type": "http.response.body", "body": content})


async def _refuse(
    send: Send, status: int, code: str, detail: str, *, come_again: bool = False
) -> None:
    error = {"code": code, "detail": detail, "attr": None}
    kind = "client_error" if status < 500 else "server_error"
    body = json.dumps({"type": kind, "errors": [error]}).encode()
    headers = [_JSON, ("content-length", str(len(body)))]
    if come_again:
        headers.append(("retry-after", str(random.randint(5, 30))))
    await _answer(send, status, headers, body)


def _allow_many_connections() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
