"""What the web server calls: reads bodies patiently, and works on whole requests only.

A body that comes in drips would keep a thread from its work for as long as its sender
likes, and a handful of such senders would keep everybody out. So bodies are awaited on
the event loop, with a limit and a deadline, and only what has come whole is handed to
one of the few threads on which Django works.
"""

import asyncio
import gc
import io
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote_to_bytes

from django.conf import settings

from provisioning.streams import TOPIC_HEADER, Streams
from provisioning.wsgi import answered

LONGEST_WAIT = 15.0  # seconds for a body of the usual size to come whole
BARE = {"CONTENT_TYPE", "CONTENT_LENGTH"}  # headers that CGI names without HTTP_

streams = Streams()
threads = ThreadPoolExecutor(settings.WEB_THREADS, thread_name_prefix="request")


class Refusal(Exception):
    """A request that is not worth a thread."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        error = {"code": code, "detail": detail, "attr": None}
        self.status = status
        self.body = json.dumps({"type": "client_error", "errors": [error]}).encode()
        self.headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(self.body))),
            ("connection", "close"),  # what is still to come belongs to nobody
        ]


class Application:
    """One coroutine for each request (RSGI)."""

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        if scope.proto != "http":
            return
        try:
            body = await _body(scope, protocol)
        except Refusal as refusal:
            protocol.response_bytes(refusal.status, refusal.headers, refusal.body)
            return
        loop = asyncio.get_running_loop()
        status, headers, content = await loop.run_in_executor(
            threads, answered, _environ(scope, body)
        )
        topic = next((said for name, said in headers if name == TOPIC_HEADER), None)
        headers = [pair for pair in headers if pair[0] != TOPIC_HEADER]
        if topic is None or streams.is_full:
            protocol.response_bytes(status, headers, content)
            return
        headers = [pair for pair in headers if pair[0].lower() != "content-length"]
        transport = protocol.response_stream(status, headers)
        await streams.serve(topic, transport, content)


async def _body(scope: Any, protocol: Any) -> bytes:
    headers, most = scope.headers, settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    told = "content-length" in headers
    if not told and "transfer-encoding" not in headers and scope.http_version[0] == "1":
        return b""
    length = headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > 15 or int(length) > most:
        raise Refusal(413, "request_too_large", "The request body is too large.")
    try:
        async with asyncio.timeout(LONGEST_WAIT):
            if told:
                return bytes(await protocol())
            return await _chunks(protocol, most)
    except TimeoutError:
        raise Refusal(
            408, "request_timeout", "The request body did not come in time."
        ) from None


async def _chunks(protocol: Any, most: int) -> bytes:
    """A body that does not say beforehand how long it is."""
    body = bytearray()
    async for chunk in protocol:
        body += chunk
        if len(body) > most:
            raise Refusal(413, "request_too_large", "The request body is too large.")
    return bytes(body)


def _environ(scope: Any, body: bytes) -> dict[str, Any]:
    """The same request as WSGI says it (PEP 3333)."""
    server, _, port = scope.server.rpartition(":")
    environ = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope.path).decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": server,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": scope.client.rpartition(":")[0].strip("[]"),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope.headers.items():
        if "_" in name:
            continue  # it would pass for the header that has hyphens there
        key = name.upper().replace("-", "_")
        key = key if key in BARE else f"HTTP_{key}"
        mark = "; " if key == "HTTP_COOKIE" else ","
        environ[key] = f"{environ[key]}{mark}{value}" if key in environ else value
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))
    return environ


app = Application()

# What was imported stays; looking through it for cycles again and again is a twentieth
# of a request's time.
gc.freeze()
gc.set_threshold(20_000, 20, 50)
