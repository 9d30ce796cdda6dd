"""HTTP requests of a device."""

import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

NO_RESPONSE = 0  # status of a request without a response
# What a response of another shape than expected raises, for example one of a proxy.
INVALID_RESPONSE = (KeyError, TypeError, ValueError, AttributeError)
SENT_LATER = {401, 403, 407, 408, 425, 429}
MAX_WAIT = 600.0  # seconds; a longer `Retry-After` is cut
RESPONSE_TIMEOUT = 30.0  # seconds
MAX_CONNECTIONS = 4  # one for the stream, one for a download
KEEP_ALIVE = 90.0  # seconds; longer than the interval of connects
STREAM_TIMEOUT = 60.0  # seconds without data after which a stream counts as lost


@dataclass(frozen=True, slots=True)
class Response:
    """The response to a request.

    Attributes:
        status: the HTTP status, or `NO_RESPONSE`.
        body: the decoded JSON, or None.
        headers: by lower-case name.
    """

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_temporary(self) -> bool:
        """Return True if the same request can succeed later."""
        return self.status in {NO_RESPONSE, 408, 429} or self.status >= 500

    @property
    def is_final(self) -> bool:
        """Return True if it is of no use to send the same message again.

        A device in quarantine (403) and one without a token (401) send it later. A redirection is
        the answer of a proxy.
        """
        return self.is_success or (400 <= self.status < 500 and self.status not in SENT_LATER)

    @property
    def retry_after(self) -> float:
        """Return the seconds in `Retry-After` (RFC 9110 §10.2.3), or 0."""
        text = self.headers.get("retry-after", "")
        return min(float(text), MAX_WAIT) if text.isascii() and text.isdecimal() else 0.0

    @property
    def error_code(self) -> str:
        """Return the code of the first error, or an empty string."""
        try:
            return str(self.body["errors"][0]["code"])
        except (KeyError, IndexError, TypeError):
            return ""


class ConnectionLost(Exception):
    """There is no response, or the connection was lost before its end."""


class Stream:
    """A response whose body is read in parts. Raises ConnectionLost: see there."""

    status: int
    headers: Mapping[str, str]  # by lower-case name

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.status, self.headers = response.status_code, response.headers

    async def lines(self) -> AsyncIterator[str]:
        """Yield the lines of the body."""
        try:
            async for line in self.response.aiter_lines():
                yield line
        except httpx.HTTPError as error:
            raise ConnectionLost from error

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the body in parts of at most 64 KB."""
        try:
            async for part in self.response.aiter_bytes(1 << 16):
                yield part
        except httpx.HTTPError as error:
            raise ConnectionLost from error


class Http:
    """Send requests to the server. Subclasses can count them with `observe`.

    Args:
        url: address of the server, without a slash at the end.
        ca_file: PEM file with the CAs that sign the server's certificate. By default, those of
            the system.
    """

    def __init__(self, url: str, *, ca_file: str | None = None) -> None:
        self.url = url.rstrip("/")
        # Without TLS, no certificates are loaded.
        is_plain = self.url.startswith("http://")
        verify: Any = False if is_plain else ssl.create_default_context(cafile=ca_file)
        self._client = httpx.AsyncClient(
            verify=verify,
            timeout=httpx.Timeout(RESPONSE_TIMEOUT, pool=None),
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=KEEP_ALIVE),
        )

    def listening(self, change: int) -> None:
        """Note that a stream of events was opened (1) or has ended (-1)."""

    def observe(self, kind: str, status: int, seconds: float) -> None:
        """Note a request. The agent itself does nothing."""

    async def request(
        self,
        kind: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send a request.

        Args:
            kind: the name of the request for `observe`.
            path: a path of the server, or an absolute URL.
            body: an image as bytes, a JSON value, or None.
        """
        started = time.monotonic()
        all_headers = {**_authorization(token), **(headers or {})}
        content = body
        if body is not None and not isinstance(body, bytes):
            content = json.dumps(body).encode()
            all_headers["Content-Type"] = "application/json"
        try:
            answer = await self._client.request(
                method, self.absolute(path), content=content, headers=all_headers
            )
            response = Response(answer.status_code, _decoded(answer), _headers(answer))
        except (httpx.HTTPError, OSError):
            response = Response(NO_RESPONSE)
        self.observe(kind, response.status, time.monotonic() - started)
        return response

    @asynccontextmanager
    async def stream(
        self, kind: str, path: str, *, token: str, headers: Mapping[str, str]
    ) -> AsyncIterator[Stream]:
        """Send a GET request whose response is read in parts.

        Raises:
            ConnectionLost: there is no response.
        """
        started, status = time.monotonic(), NO_RESPONSE
        timeout = httpx.Timeout(RESPONSE_TIMEOUT, read=STREAM_TIMEOUT, pool=None)
        all_headers = {**_authorization(token), **headers}
        request = self._client.build_request(
            "GET", self.absolute(path), headers=all_headers, timeout=timeout
        )
        try:
            response = await self._client.send(request, stream=True)
            status = response.status_code
        except (httpx.HTTPError, OSError) as error:
            raise ConnectionLost from error
        finally:
            self.observe(kind, status, time.monotonic() - started)
        try:
            yield Stream(response)
        finally:
            await response.aclose()

    async def close(self) -> None:
        await self._client.aclose()

    def absolute(self, path: str) -> str:
        """Return the URL of a path of the server. A URL stays as it is."""
        return path if path.startswith(("http://", "https://")) else f"{self.url}{path}"


def _authorization(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _decoded(answer: httpx.Response) -> Any:
    """Return the JSON of a body; None if there is none, for example from a proxy."""
    try:
        return answer.json() if answer.content else None
    except ValueError:
        return None


def _headers(answer: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}
