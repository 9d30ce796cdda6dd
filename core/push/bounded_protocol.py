"""HTTP protocol of the push server, with limits before a request is complete.

uvicorn has no limits for the head of a request and no time limit until it is complete.
"""

import asyncio
from collections import Counter
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any

from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 32 * 1024  # bytes of request line and headers; a client certificate has 4 KB
MAX_HEADERS = 100
HEAD_SECONDS = 15.0  # from the connection, or the first byte of a request, to its last header
MAX_INCOMPLETE = 200  # connections of one address whose request is not complete

_incomplete: Counter[str] = Counter()  # by address


class HeadTooLarge(Exception):
    """The head of the request exceeds a limit."""


class BoundedProtocol(HttpToolsProtocol):
    """Close connections whose request head is too large, too slow, or one of too many."""

    _timer: asyncio.TimerHandle | None = None
    _address: str | None = None  # while the request is incomplete and counted
    _head = 0  # bytes received of the present head
    _is_too_large = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        if not _is_proxy(address) and _incomplete[address] >= MAX_INCOMPLETE:
            transport.close()
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_complete()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        is_incomplete = self._timer is not None
        super().data_received(data)
        if is_incomplete and self._timer is not None and not self.transport.is_closing():
            self._head += len(data)
            if self._head > MAX_HEAD:
                self._is_too_large = True
                self.send_400_response("")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_bytes = 0
        self._expect_head()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        self._head_is_complete()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        if not self._is_too_large:
            super().send_400_response(msg)
            return
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE  # RFC 6585 section 5
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\nconnection: close\r\n"
        self.transport.write(f"{head}content-length: 0\r\n\r\n".encode())
        self.transport.close()

    def _count(self, count: int) -> None:
        self._header_bytes += count
        if self._header_bytes > MAX_HEAD or len(self.headers) > MAX_HEADERS:
            self._is_too_large = True
            raise HeadTooLarge  # the parser reports it, and `send_400_response` is called

    def _expect_head(self) -> None:
        if self._timer is None:
            self._head = 0
            self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)
            self._address = self.client[0] if self.client else ""
            _incomplete[self._address] += 1

    def _head_is_complete(self) -> None:
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        assert self._address is not None
        _incomplete[self._address] -= 1
        if not _incomplete[self._address]:
            del _incomplete[self._address]


def _is_proxy(address: str) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in settings.TRUSTED_PROXIES)
