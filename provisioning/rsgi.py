"""The web server's RSGI application. It reads complete requests before it runs Django.

Django runs on a few threads. A client that sends its body slowly would occupy a thread, and
a few such clients would block the server. Bodies are therefore read on the event loop, with
a size limit and a deadline, and only complete requests get a thread. The body of a file
upload is written to the disk after Django has accepted the upload.
"""

import asyncio
import gc
import io
import json
import logging
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from django.conf import settings

from core import uploads
from core.downloads import LocalFile, LocalFileResponse
from core.errors import random_retry_after
from provisioning.fair_queue import FairQueue, KnownCredentials, QueueFull, RecentRefusals
from provisioning.wsgi import open_response
from tenants.middleware import forwarded_address

LIVE_PATH = "/health/live"  # answered without a thread
LIVE = b'{"status": "ok"}'
MAX_WAITING = 2000  # requests in one process that wait for a thread
MAX_WAITING_OF_CALLER = 500  # thousands of devices may share an address until they are known
MAX_BODY_SECONDS = 15.0  # for a body that is kept in memory
logger = logging.getLogger(__name__)

UNPREFIXED = {"CONTENT_TYPE", "CONTENT_LENGTH"}  # CGI names without HTTP_

MAX_CHUNK_SECONDS = 20.0  # until the next chunk of an upload
MIN_UPLOAD_RATE = 50_000  # bytes per second received, on average over `RATE_WINDOW`
RATE_WINDOW = 20.0  # seconds
MAX_UPLOADS = 4  # at a time, in one process
MAX_UPLOADS_OF_TENANT = 2
UPLOAD_PATHS = re.compile(
    r"/updates/packages/[0-9a-f-]{36}/file"
    r"|(?:/t/[-\w]+)?/admin/updates/softwareupdate/[0-9a-f-]{36}/file/"
)

threads = ThreadPoolExecutor(settings.WEB_THREADS, thread_name_prefix="request")
files = ThreadPoolExecutor(4, thread_name_prefix="file")  # for disk and object storage
# Uploaded files are inspected, signed and stored without delaying other requests.
upload_threads = ThreadPoolExecutor(2, thread_name_prefix="keeping")

Answer = tuple[int, list[tuple[str, str]], bytes | LocalFile | Any]


class Refusal(Exception):
    """An error response that is sent without running Django. With 503, it has `Retry-After`."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        error = {"code": code, "detail": detail, "attr": None}
        kind = "client_error" if status < 500 else "server_error"
        self.status = status
        self.body = json.dumps({"type": kind, "errors": [error]}).encode()
        self._headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(self.body))),
            ("connection", "close"),  # the rest of the body is not read
        ]

    @property
    def headers(self) -> list[tuple[str, str]]:
        if self.status != 503:
            return self._headers
        return [*self._headers, ("retry-after", str(random_retry_after()))]


class Application:
    """The RSGI application. The server runs one coroutine per request."""

    def __init__(self) -> None:
        self.uploads: Counter[str] = Counter()  # running uploads by tenant
        self.queue = FairQueue(
            places=settings.WEB_THREADS,
            most_of_caller=max(1, settings.WEB_THREADS - 1),
            most_waiting=MAX_WAITING,
            most_waiting_of_caller=MAX_WAITING_OF_CALLER,
        )
        self.known = KnownCredentials()
        self.refusals: RecentRefusals[Answer] = RecentRefusals()

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        if scope.proto != "http":
            return
        if scope.path == LIVE_PATH:
            protocol.response_bytes(200, [("content-type", "application/json")], LIVE)
            return
        try:
            if scope.method == "PUT" and UPLOAD_PATHS.fullmatch(scope.path):
                answer = await self._uploaded(scope, protocol)
            else:
                answer = await self._answered(_environ(scope, await _body(scope, protocol)))
        except Refusal as refusal:
            protocol.response_bytes(refusal.status, refusal.headers, refusal.body)
            return
        await _send(protocol, *answer)

    async def _answered(self, environ: dict[str, Any]) -> Answer:
        """Return Django's answer. Refuse the request if the threads are stuck or overloaded.

        A thread that waits for a stopped database cannot be interrupted. It ends its request
        later; a request that has no thread yet is dropped.
        """
        credential = environ.get("HTTP_AUTHORIZATION") or environ.get("HTTP_COOKIE", "")
        caller = credential if credential in self.known else _address(environ)
        # By path, because an endpoint may have a limit of its own.
        limited = (caller, f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        if (refusal := self.refusals.get(limited, time.monotonic())) is not None:
            return refusal
        try:
            async with asyncio.timeout(settings.REQUEST_TIMEOUT):
                await self.queue.acquire(caller)
                answer = await self._in_thread(environ, caller)
        except TimeoutError:
            raise _UNANSWERED from None
        except QueueFull:
            raise _OVERLOADED from None
        if credential and answer[0] < 400:
            self.known.add(credential)
        if answer[0] == 429 and (caller == credential or not credential):
            self.refusals.add(limited, answer, time.monotonic())
        return answer

    async def _in_thread(self, environ: dict[str, Any], caller: str) -> Answer:
        """Run Django. The place is released when the thread ends, also if nobody waits for it."""
        loop = asyncio.get_running_loop()
        running = threads.submit(_answer, environ)

        def release(_: object) -> None:
            loop.call_soon_threadsafe(self.queue.release, caller)

        running.add_done_callback(release)
        return await asyncio.wrap_future(running)

    async def _uploaded(self, scope: Any, protocol: Any) -> Answer:
        """Let Django accept the upload, read the file, and pass the file to Django."""
        environ = _environ(scope, b"")
        length = _content_length(scope)
        environ[uploads.ENVIRON_KEY] = uploads.AdmissionRequest(length)
        status, headers, content = await self._answered(environ)
        limit = next((v for name, v in headers if name == uploads.ADMITTED_HEADER), None)
        if limit is None:
            return status, [*headers, ("connection", "close")], content
        most, tenant = limit.split(" ")
        with self._upload_of(tenant):
            spool = uploads.UploadWriter(int(most))
            try:
                environ = _environ(scope, b"")
                environ[uploads.ENVIRON_KEY] = await _spooled(protocol, spool, length or 0)
                return await _run(environ, upload_threads)
            finally:
                spool.remove()

    @contextmanager
    def _upload_of(self, tenant: str) -> Iterator[None]:
        """Count an upload. Raise a `Refusal` if all places, or those of the tenant, are taken."""
        if self.uploads.total() >= MAX_UPLOADS or self.uploads[tenant] >= MAX_UPLOADS_OF_TENANT:
            raise Refusal(429, "uploads_busy", "Too many files are being uploaded now.")
        self.uploads[tenant] += 1
        try:
            yield
        finally:
            self.uploads[tenant] -= 1
            if not self.uploads[tenant]:
                del self.uploads[tenant]


async def _run(environ: dict[str, Any], pool: ThreadPoolExecutor) -> Answer:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(pool, _answer, environ)


def _answer(environ: dict[str, Any]) -> Answer:
    """Return the complete response. Files are an exception: they are read while being sent."""
    status, headers, response = open_response(environ)
    if isinstance(response, LocalFileResponse):
        response.close()
        return status, headers, response.local
    if getattr(response, "streaming", False):
        return status, headers, response
    try:
        return status, headers, b"".join(response)
    finally:
        response.close()


async def _send(protocol: Any, status: int, headers: list[tuple[str, str]], content: Any) -> None:
    if isinstance(content, LocalFile):
        if content.end == content.start:
            protocol.response_bytes(status, headers, b"")
            return
        protocol.response_file_range(status, headers, content.path, content.start, content.end)
        return
    if not isinstance(content, bytes):
        await _send_chunks(protocol.response_stream(status, headers), content)
        return
    protocol.response_bytes(status, headers, content)


async def _send_chunks(transport: Any, response: Any) -> None:
    """Send a file from object storage, chunk by chunk."""
    loop, chunks = asyncio.get_running_loop(), iter(response)
    try:
        while (chunk := await loop.run_in_executor(files, next, chunks, None)) is not None:
            await transport.send_bytes(chunk)
    except (RuntimeError, OSError):
        pass  # the client disconnected; it resumes the download later
    except Exception:  # an error of the storage library; the client resumes later
        logger.exception("A file could not be read completely")
    finally:
        await loop.run_in_executor(files, response.close)


async def _spooled(protocol: Any, spool: uploads.UploadWriter, length: int) -> uploads.UploadedFile:
    """Write the body to the disk. Refuse a client that sends too slowly."""
    try:
        await _write(protocol, spool)
    except TimeoutError:
        raise Refusal(408, "request_timeout", "The file did not arrive in time.") from None
    except uploads.TooLarge:
        raise _TOO_LARGE from None
    except RuntimeError:
        raise _TRUNCATED from None
    except OSError:
        logger.exception("An uploaded file could not be written")
        raise _NOT_STORED from None
    if spool.size < length:
        raise _TRUNCATED
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(files, spool.finish)


async def _write(protocol: Any, spool: uploads.UploadWriter) -> None:
    """Write the chunks. Raise TimeoutError if the client sends too slowly."""
    loop, chunks, buffer = asyncio.get_running_loop(), aiter(protocol), bytearray()
    chunk: bytes | None = b""
    window_start, received = loop.time(), 0
    while chunk is not None:
        chunk = await _next(chunks)
        received += len(chunk or b"")
        if (seconds := loop.time() - window_start) > RATE_WINDOW:
            if received < MIN_UPLOAD_RATE * seconds:
                raise TimeoutError
            window_start, received = loop.time(), 0
        buffer += chunk or b""
        if chunk is None or len(buffer) >= uploads.CHUNK:
            await loop.run_in_executor(files, spool.write, bytes(buffer))
            buffer.clear()


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    """Return the next chunk, None at the end.

    The built-in `anext` with a default would crash here.
    """
    async with asyncio.timeout(MAX_CHUNK_SECONDS):
        try:
            return await chunks.__anext__()
        except StopAsyncIteration:
            return None


def _address(environ: dict[str, Any]) -> str:
    address = forwarded_address(environ["REMOTE_ADDR"], environ.get("HTTP_X_FORWARDED_FOR", ""))
    return address or "unknown"


def _content_length(scope: Any) -> int | None:
    value = scope.headers.get("content-length", "")
    return int(value) if value.isdecimal() and len(value) < 16 else None


_TOO_LARGE = Refusal(413, "request_too_large", "The request body is too large.")
_NOT_STORED = Refusal(503, "unavailable", "The server cannot store the file now.")
_OVERLOADED = Refusal(503, "overloaded", "The server has too many requests. Try again later.")
_UNANSWERED = Refusal(503, "unavailable", "The server could not answer in time.")
_TRUNCATED = Refusal(400, "upload_truncated", "The upload was interrupted. Nothing was stored.")


async def _body(scope: Any, protocol: Any) -> bytes:
    headers, limit = scope.headers, settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    has_length = "content-length" in headers
    if not has_length and "transfer-encoding" not in headers and scope.http_version[0] == "1":
        return b""
    length = headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > 15 or int(length) > limit:
        raise Refusal(413, "request_too_large", "The request body is too large.")
    try:
        async with asyncio.timeout(MAX_BODY_SECONDS):
            if has_length:
                return bytes(await protocol())
            return await _chunks(protocol, limit)
    except TimeoutError:
        raise Refusal(408, "request_timeout", "The request body did not arrive in time.") from None


async def _chunks(protocol: Any, limit: int) -> bytes:
    """Read a body without a `Content-Length`."""
    body = bytearray()
    async for chunk in protocol:
        body += chunk
        if len(body) > limit:
            raise Refusal(413, "request_too_large", "The request body is too large.")
    return bytes(body)


def _environ(scope: Any, body: bytes) -> dict[str, Any]:
    """Return the request as a WSGI environment (PEP 3333)."""
    server, _, port = scope.server.rpartition(":")
    environ = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode().decode("latin-1"),  # the server has decoded it
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
            continue  # in WSGI it would look like the header with hyphens
        key = name.upper().replace("-", "_")
        key = key if key in UNPREFIXED else f"HTTP_{key}"
        separator = "; " if key == "HTTP_COOKIE" else ","
        environ[key] = f"{environ[key]}{separator}{value}" if key in environ else value
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))
    return environ


app = Application()

# Imported objects stay alive. Searching them for cycles repeatedly would take a twentieth of
# a request's time.
gc.freeze()
gc.set_threshold(20_000, 20, 50)
