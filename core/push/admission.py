"""Let the Django application decide whether a connection may be kept open.

The application first processes a request to a push endpoint like any other request, in a
small thread pool. Authentication, permissions and limits therefore apply. If the connection
may be kept open, the response has a certain header, which contains the recipient.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

from asgiref.wsgi import WsgiToAsgiInstance
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from core.errors import random_retry_after

Headers = list[tuple[str, str]]
Application = Callable[[dict[str, Any]], tuple[int, Headers, bytes]]

PUSH_ENVIRON = "provisioning.push"  # WSGI key of requests to the push server
MAX_WAITING = 1000  # requests that wait for a thread
REPLACED = {"content-length", "content-type", "connection"}  # headers of a stream


class Admission:
    """Run requests through the Django application in a thread pool.

    Args:
        application: a function that takes a WSGI environment (PEP 3333) and returns the
            status, the headers and the body.
        threads: number of requests that are processed at once.
    """

    def __init__(self, application: Application, *, threads: int) -> None:
        self._application = application
        self._threads = ThreadPoolExecutor(threads, "admission")
        self._waiting = 0

    @property
    def is_full(self) -> bool:
        return self._waiting >= MAX_WAITING

    async def answer(self, request: Request) -> tuple[int, Headers, bytes]:
        """Return the status, headers and body of the application's response.

        Raises:
            ValueError: the headers cannot be expressed in WSGI.
        """
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, self._application, _environ(request)
            )
        finally:
            self._waiting -= 1

    async def pass_through(self, request: Request) -> Response:
        """Return the application's response unchanged."""
        status, headers, content = await self.answer(request)
        return plain(status, headers, content)


def plain(status: int, headers: Headers, content: bytes) -> Response:
    """Return a response with the given status, headers and content, without other headers."""
    response = Response(content, status)
    response.raw_headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
    ]
    return response


def stream_headers(headers: Headers) -> dict[str, str]:
    """Return the headers of the application's response without those that describe its body."""
    return {name: value for name, value in headers if name.lower() not in REPLACED}


def error(status: int, code: str, detail: str) -> Response:
    """Return an error in the format of the API. Status 503 includes `Retry-After`."""
    kind = "client_error" if status < 500 else "server_error"
    errors = [{"code": code, "detail": detail, "attr": None}]
    retry = {"Retry-After": str(random_retry_after())} if status == 503 else {}
    return JSONResponse({"type": kind, "errors": errors}, status, headers=retry)


def _environ(request: Request) -> dict[str, Any]:
    named = [pair for pair in request.scope["headers"] if b"_" not in pair[0]]
    kept = [pair for pair in named if pair[0] not in (b"content-length", b"expect")]
    instance: Any = WsgiToAsgiInstance(None)
    instance.scope = {**request.scope, "headers": kept}
    environ: dict[str, Any] = instance.build_environ(instance.scope, BytesIO())
    return {**environ, PUSH_ENVIRON: True}
