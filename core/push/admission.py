"""Let the Django application decide whether a connection may be kept open.

The application first processes a request to a push endpoint like any other request.
Authentication, permissions and limits therefore apply. If the connection may be kept open,
the response has a certain header, which contains the recipient.
"""

from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any

from asgiref.wsgi import WsgiToAsgiInstance
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from core.errors import random_retry_after

Headers = list[tuple[str, str]]
Application = Callable[[dict[str, Any]], Awaitable[tuple[int, Headers, bytes]]]

PUSH_ENVIRON = "provisioning.push"  # WSGI key of requests to the push server
REPLACED = {"content-length", "content-type", "connection"}  # headers of a stream


class Admission:
    """Run requests through the Django application.

    Args:
        application: a function that takes a WSGI environment (PEP 3333) and returns the
            status, the headers and the body.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def answer(self, request: Request) -> tuple[int, Headers, bytes]:
        """Return the status, headers and body of the application's response.

        Raises:
            ValueError: the headers cannot be expressed in WSGI.
        """
        return await self._application(_environ(request))

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
    headers = {"Cache-Control": "no-store"}
    if status == 503:
        headers["Retry-After"] = str(random_retry_after())
    return JSONResponse({"type": kind, "errors": errors}, status, headers=headers)


def _environ(request: Request) -> dict[str, Any]:
    named = [pair for pair in request.scope["headers"] if b"_" not in pair[0]]
    kept = [pair for pair in named if pair[0] not in (b"content-length", b"expect")]
    instance: Any = WsgiToAsgiInstance(None)
    instance.scope = {**request.scope, "headers": kept}
    environ: dict[str, Any] = instance.build_environ(instance.scope, BytesIO())
    return {**environ, PUSH_ENVIRON: True}
