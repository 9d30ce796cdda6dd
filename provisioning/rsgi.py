"""What the web server calls: reads bodies patiently, and works on whole requests only.

A body that comes in drips would keep a thread from its work for as long as its sender
likes, and a handful of such senders would keep everybody out. So bodies are awaited on
the event loop, with a limit and a deadline, and only what has come whole is handed to
one of the few threads on which Django works. A file that is uploaded goes to the disk meanwhile,
once the application has said that it would take it.
"""

import asyncio
import gc
import io
import json
import logging
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote_to_bytes

from django.conf import settings

from core import uploads
from core.downloads import LocalFile, LocalFileAnswer
from provisioning.wsgi import begun

LONGEST_WAIT = 15.0  # seconds for a body of the usual size to come whole
logger = logging.getLogger(__name__)

BARE = {"CONTENT_TYPE", "CONTENT_LENGTH"}  # headers that CGI names without HTTP_

LONGEST_PIECE = 30.0  # seconds for the next piece of an upload
SLOWEST = 50_000  # bytes a second, of a whole upload
MOST_UPLOADS = 4  # at a time, of one process

threads = ThreadPoolExecutor(settings.WEB_THREADS, thread_name_prefix="request")
files = ThreadPoolExecutor(4, thread_name_prefix="file")  # slow disks, other stores
# What has come is looked into, signed and stored elsewhere: beside all other requests.
keeping = ThreadPoolExecutor(2, thread_name_prefix="keeping")

Answer = tuple[int, list[tuple[str, str]], bytes | LocalFile | Any]


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

    def __init__(self) -> None:
        self.uploads = 0

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        if scope.proto != "http":
            return
        try:
            if scope.method == "PUT" and uploads.PATHS.fullmatch(scope.path):
                answer = await self._uploaded(scope, protocol)
            else:
                answer = await _answered(_environ(scope, await _body(scope, protocol)))
        except Refusal as refusal:
            protocol.response_bytes(refusal.status, refusal.headers, refusal.body)
            return
        await _send(protocol, *answer)

    async def _uploaded(self, scope: Any, protocol: Any) -> Answer:
        """Ask whether it would be taken; take it; hand it on."""
        environ = _environ(scope, b"")
        length = _said_length(scope)
        environ[uploads.ENVIRON] = uploads.Question(length)
        status, headers, content = await _answered(environ)
        most = next((v for name, v in headers if name == uploads.ADMITTED), None)
        if most is None:
            return status, [*headers, ("connection", "close")], content
        if self.uploads >= MOST_UPLOADS:
            raise Refusal(429, "uploads_busy", "Other files are uploaded now.")
        self.uploads += 1
        try:
            spool = uploads.Spool(int(most))
            try:
                environ = _environ(scope, b"")
                environ[uploads.ENVIRON] = await _spooled(protocol, spool, length or 0)
                return await _answered(environ, keeping)
            finally:
                spool.remove()
        finally:
            self.uploads -= 1


async def _answered(
    environ: dict[str, Any], pool: ThreadPoolExecutor = threads
) -> Answer:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(pool, _answer, environ)


def _answer(environ: dict[str, Any]) -> Answer:
    """Whole, but for a file: that is read when it is sent."""
    status, headers, response = begun(environ)
    if isinstance(response, LocalFileAnswer):
        response.close()
        return status, headers, response.local
    if getattr(response, "streaming", False):
        return status, headers, response
    try:
        return status, headers, b"".join(response)
    finally:
        response.close()


async def _send(
    protocol: Any, status: int, headers: list[tuple[str, str]], content: Any
) -> None:
    if isinstance(content, LocalFile):
        if content.end == content.start:
            protocol.response_bytes(status, headers, b"")
            return
        protocol.response_file_range(
            status, headers, content.path, content.start, content.end
        )
        return
    if not isinstance(content, bytes):
        await _send_pieces(protocol.response_stream(status, headers), content)
        return
    protocol.response_bytes(status, headers, content)


async def _send_pieces(transport: Any, response: Any) -> None:
    """A file from elsewhere, piece by piece, as quickly as it is read."""
    loop, pieces = asyncio.get_running_loop(), iter(response)
    try:
        while (
            piece := await loop.run_in_executor(files, next, pieces, None)
        ) is not None:
            await transport.send_bytes(piece)
    except (RuntimeError, OSError):
        pass  # the device went away; it comes again for the rest
    except Exception:  # the store's own; the device comes again for the rest
        logger.exception("A file could not be read to its end")
    finally:
        await loop.run_in_executor(files, response.close)


async def _spooled(protocol: Any, spool: uploads.Spool, length: int) -> uploads.Spooled:
    """Write what comes to the disk; who is too slow for it keeps others from theirs."""
    try:
        async with asyncio.timeout(LONGEST_PIECE + length / SLOWEST):
            await _write(protocol, spool)
    except TimeoutError:
        raise Refusal(
            408, "request_timeout", "The file did not come in time."
        ) from None
    except uploads.TooLarge:
        raise _TOO_LARGE from None
    except RuntimeError:
        raise _BROKEN_OFF from None
    except OSError:
        logger.exception("A file that came in could not be written")
        raise _NO_ROOM from None
    if spool.size < length:
        raise _BROKEN_OFF
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(files, spool.finish)


async def _write(protocol: Any, spool: uploads.Spool) -> None:
    loop, pieces, gathered = asyncio.get_running_loop(), aiter(protocol), bytearray()
    piece: bytes | None = b""
    while piece is not None:
        piece = await _next(pieces)
        gathered += piece or b""
        if piece is None or len(gathered) >= uploads.CHUNK:
            await loop.run_in_executor(files, spool.write, bytes(gathered))
            gathered.clear()


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    """None at the end. (`anext` with a default ends the process with these.)"""
    async with asyncio.timeout(LONGEST_PIECE):
        try:
            return await pieces.__anext__()
        except StopAsyncIteration:
            return None


def _said_length(scope: Any) -> int | None:
    said = scope.headers.get("content-length", "")
    return int(said) if said.isdecimal() and len(said) < 16 else None


_TOO_LARGE = Refusal(413, "request_too_large", "The request body is too large.")
_NO_ROOM = Refusal(503, "unavailable", "The file could not be written here.")
_BROKEN_OFF = Refusal(
    400, "upload_truncated", "The upload broke off: nothing of it was kept."
)


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
