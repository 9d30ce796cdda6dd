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
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.conf import settings

from core import uploads
from core.downloads import LocalFile, LocalFileResponse
from provisioning.fair_queue import FairQueue, KnownCredentials, QueueFull, RecentRefusals
from provisioning.refusals import BodyTooLarge, BodyTooSlow, Overloaded, Refusal, Unanswered
from provisioning.upload_receiver import UploadReceiver
from provisioning.wsgi import open_response
from tenants.middleware import TENANT_SEEN, forwarded_address

LIVE_PATH = "/health/live"  # answered without a thread
LIVE = b'{"status": "ok"}'
MAX_WAITING = 2000  # requests in one process that wait for a thread
MAX_WAITING_OF_TENANT = 1000
MAX_WAITING_OF_CALLER = 500  # thousands of devices may share an address until they are known
MAX_BODY_SECONDS = 15.0  # for a body that is kept in memory
REFUSAL_SECONDS = 0.5  # in which an answer with 429 is repeated
INVALID_SECONDS = 5.0  # the same for an invalid credential, which cannot become valid
logger = logging.getLogger(__name__)

UNPREFIXED = {"CONTENT_TYPE", "CONTENT_LENGTH"}  # CGI names without HTTP_

UPLOAD_PATHS = re.compile(
    r"/updates/packages/[0-9a-f-]{36}/file"
    r"|(?:/t/[-\w]+)?/admin/updates/softwareupdate/[0-9a-f-]{36}/file/"
)

threads = ThreadPoolExecutor(settings.WEB_THREADS, thread_name_prefix="request")
files = ThreadPoolExecutor(4, thread_name_prefix="file")  # for disk and object storage
# Uploaded files are inspected, signed and stored without delaying other requests.
upload_threads = ThreadPoolExecutor(2, thread_name_prefix="keeping")

Answer = tuple[int, list[tuple[str, str]], bytes | LocalFile | Any]


class Application:
    """The RSGI application. The server runs one coroutine per request."""

    def __init__(self) -> None:
        self.uploads = UploadReceiver(files)
        self.queue = FairQueue(
            places=settings.WEB_THREADS,
            most_of_caller=_most_of_caller,
            most_waiting=MAX_WAITING,
            most_waiting_of_group=MAX_WAITING_OF_TENANT,
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

    def _caller(self, environ: dict[str, Any]) -> str:
        """Return the credential if it was accepted recently, otherwise the address."""
        credential = _credential(environ)
        return credential if credential in self.known else _address(environ)

    async def _answered(self, environ: dict[str, Any]) -> Answer:
        """Return Django's answer. Refuse the request if the threads are stuck or overloaded.

        A thread that waits for a stopped database cannot be interrupted. It ends its request
        later; a request that has no thread yet is dropped.
        """
        credential, caller = _credential(environ), self._caller(environ)
        tenant = self.known.tenant(credential) or ""
        seen: list[str] = []
        environ[TENANT_SEEN] = seen
        limited = _limited(environ)
        if (refusal := self.refusals.get(limited, time.monotonic())) is not None:
            return refusal
        try:
            async with asyncio.timeout(settings.REQUEST_TIMEOUT):
                await self.queue.acquire(caller, tenant)
                answer = await self._in_thread(environ, caller)
        except TimeoutError:
            raise Unanswered from None
        except QueueFull:
            raise Overloaded from None
        if credential and answer[0] < 400:
            self.known.add(credential, seen[0] if seen else "")
        if answer[0] == 429:
            is_invalid = bool(credential) and caller != credential
            seconds = INVALID_SECONDS if is_invalid else REFUSAL_SECONDS
            self.refusals.add(limited, answer, until=time.monotonic() + seconds)
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
        environ = _environ(scope)
        length = _content_length(scope)
        environ[uploads.ENVIRON_KEY] = uploads.AdmissionRequest(length)
        status, headers, content = await self._answered(environ)
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


def _credential(environ: dict[str, Any]) -> str:
    return environ.get("HTTP_AUTHORIZATION") or environ.get("HTTP_COOKIE") or ""


def _most_of_caller(caller: str) -> int:
    """Return how many requests of a caller may run at once.

    Threads share one interpreter lock, so each running request slows the others down. A
    device sends one request at a time. So does an address, until its credentials are known.
    """
    is_member_or_site = caller.startswith(("Bearer usr_", "Bearer enr_")) or "=" in caller
    return max(1, settings.WEB_THREADS - 1) if is_member_or_site else 1


def _limited(environ: dict[str, Any]) -> tuple[str, str]:
    """Return who is refused, and for which requests, by an answer with 429.

    An endpoint may have a limit of its own. An OCSP request may be the last part of a path
    (RFC 6960, appendix A.1), so without a credential this part of a long path is left out.
    """
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if credential := _credential(environ):
        return str(hash(credential)), f"{method} {path}"
    if path.count("/") > 2:
        path = path[: path.rindex("/") + 1]
    return _address(environ), f"{method} {path}"


def _address(environ: dict[str, Any]) -> str:
    address = forwarded_address(environ["REMOTE_ADDR"], environ.get("HTTP_X_FORWARDED_FOR", ""))
    return address or "unknown"


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

# Imported objects stay alive. Searching them for cycles repeatedly would take a twentieth of
# a request's time.
gc.freeze()
gc.set_threshold(20_000, 20, 50)
