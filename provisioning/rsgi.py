"""The web server's RSGI application. It reads complete requests before it runs Django.

Django runs on a few threads. A client that sends its body slowly would occupy a thread, and
a few such clients would block the server. Bodies are therefore read on the event loop, with
a size limit and a deadline, and only complete requests get a thread. The body of a file
upload is written to the disk after Django has accepted the upload.
"""

import asyncio
import gc
import io
import logging
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.conf import settings

from provisioning.wsgi import open_response  # runs Django's setup, before the imports below

# isort: split

from certificates.api.fast_ocsp import FastOcsp, FastOcspGet
from core import uploads
from core.downloads import LocalFile, LocalFileResponse
from devices.configurations.api.fast_poll import FastConfigurationPoll
from devices.metrics.api.fast_sample import FastSample
from devices.registry.api.fast_connect import FastConnect
from devices.updates.api.fast_poll import FastUpdatePoll
from provisioning.fair_threads import FairThreads
from provisioning.fast_path import FastPath
from provisioning.refusals import BodyTooLarge, BodyTooSlow, Refusal
from provisioning.upload_receiver import UploadReceiver

LIVE_PATH = "/health/live"  # answered without a thread
LIVE = b'{"status": "ok"}'
MAX_BODY_SECONDS = 15.0  # for a body that is kept in memory
logger = logging.getLogger(__name__)

UNPREFIXED = {"CONTENT_TYPE", "CONTENT_LENGTH"}  # CGI names without HTTP_

UPLOAD_PATHS = re.compile(
    r"/updates/packages/[0-9a-f-]{36}/file"
    r"|(?:/t/[-\w]+)?/admin/(?:updates/softwareupdate|imports/deviceimport)/[0-9a-f-]{36}/file/"
)

files = ThreadPoolExecutor(4, thread_name_prefix="file")  # for disk and object storage
# Uploaded files are inspected, signed and stored without delaying other requests.
upload_threads = ThreadPoolExecutor(2, thread_name_prefix="keeping")

FAST_KINDS = (FastConnect, FastSample, FastConfigurationPoll, FastUpdatePoll, FastOcsp, FastOcspGet)

Answer = tuple[int, list[tuple[str, str]], bytes | LocalFile | Any]


class Application:
    """The RSGI application. The server runs one coroutine per request."""

    def __init__(self) -> None:
        self.uploads = UploadReceiver(files)
        self.threads: FairThreads[Answer] = FairThreads(run_django, threads=settings.WEB_THREADS)
        self.fast = FastPath([kind() for kind in FAST_KINDS], self.threads)

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
                answer = await self._answered(scope, await _body(scope, protocol))
        except Refusal as refusal:
            protocol.response_bytes(refusal.status, refusal.headers, refusal.body)
            return
        await _send(protocol, *answer)

    async def _answered(self, scope: Any, body: bytes) -> Answer:
        if (fast := await self.fast.answer(scope, body)) is not None:
            return fast
        answer = await self.threads.answer(_environ(scope, body))
        self.fast.learn(scope, answer[0], answer[1])
        return answer

    async def _uploaded(self, scope: Any, protocol: Any) -> Answer:
        """Let Django accept the upload, read the file, and pass the file to Django."""
        environ = _environ(scope)
        length = _content_length(scope)
        environ[uploads.ENVIRON_KEY] = uploads.AdmissionRequest(length)
        status, headers, content = await self.threads.answer(environ)
        limit = next((v for name, v in headers if name == uploads.ADMITTED_HEADER), None)
        if limit is None:
            return status, [*headers, ("connection", "close")], content
        most, tenant = limit.split(" ")
        with self.uploads.counted(tenant):
            spool = uploads.UploadWriter(int(most))
            try:
                environ = _environ(scope)
                environ[uploads.ENVIRON_KEY] = await self.uploads.receive(
                    protocol, spool, length or 0
                )
                return await _run(environ, upload_threads)
            finally:
                spool.remove()


async def _run(environ: dict[str, Any], pool: ThreadPoolExecutor) -> Answer:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(pool, run_django, environ)


def run_django(environ: dict[str, Any]) -> Answer:
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


def _content_length(scope: Any) -> int | None:
    value = scope.headers.get("content-length", "")
    return int(value) if value.isdecimal() and len(value) < 16 else None


async def _body(scope: Any, protocol: Any) -> bytes:
    headers, limit = scope.headers, settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    has_length = "content-length" in headers
    if not has_length and "transfer-encoding" not in headers and scope.http_version[0] == "1":
        return b""
    length = headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > 15 or int(length) > limit:
        raise BodyTooLarge
    try:
        async with asyncio.timeout(MAX_BODY_SECONDS):
            if has_length:
                return bytes(await protocol())
            return await _chunks(protocol, limit)
    except TimeoutError:
        raise BodyTooSlow from None


async def _chunks(protocol: Any, limit: int) -> bytes:
    """Read a body without a `Content-Length`."""
    body = bytearray()
    async for chunk in protocol:
        body += chunk
        if len(body) > limit:
            raise BodyTooLarge
    return bytes(body)


def _environ(scope: Any, body: bytes = b"") -> dict[str, Any]:
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

# A thread that computes, such as for a long list, gives way to the others after a millisecond.
sys.setswitchinterval(0.001)

# Imported objects stay alive. Searching them for cycles repeatedly would take a twentieth of
# a request's time.
gc.freeze()
# A search stops all requests. These thresholds keep it below about 20 milliseconds.
gc.set_threshold(5_000, 2, 50)
