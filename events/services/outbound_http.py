"""Send HTTP requests to URLs that tenants enter, but never into internal networks.

The host name is resolved here, and the connection is made to the same address that was
checked. A change of the DNS record after the check therefore has no effect.
Redirects are not followed.
"""

import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.http import parse_http_date_safe
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

TIMEOUT = 10.0  # seconds from the first byte sent to the last byte read
MAX_RESPONSE = 1_000  # bytes of a response that are read
NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Special-purpose addresses that must not be reached (RFC 6890 and the IANA registries). They are
# listed here because Python's own lists differ between its versions.
FORBIDDEN_NETWORKS = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
            *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
            *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
            *("::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "100::/64", "2001:2::/48"),
            *("2001:10::/28", "2001:20::/28", "2001:db8::/32", "3fff::/20", "5f00::/16"),
            *("fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
        ),
    )
)


class Unreachable(Exception):
    """The request was not sent, or there was no response. The exception's message is the reason."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The HTTP status and the beginning of the body of a response."""

    status: int
    text: str
    retry_after: str = ""  # the header; read it with `parse_retry_after`


def post(url: str, body: bytes, headers: dict[str, str]) -> Answer:
    """Send a POST request once, see `request`."""
    return request("POST", url, body, headers)


def request(
    method: str,
    url: str,
    body: bytes | None,
    headers: dict[str, str],
    *,
    most: int = MAX_RESPONSE,
    seconds: float | None = None,
) -> Answer:
    """Send a request once.

    Args:
        most: bytes of the response that are read.
        seconds: from the first byte sent to the last byte read, `TIMEOUT` unless given.

    Raises:
        Unreachable: the address is not allowed, or there was no response in time.
    """
    limit = TIMEOUT if seconds is None else seconds
    try:
        parts = urlsplit(url)
        is_https = parts.scheme == "https"
        port = parts.port or (443 if is_https else 80)
        connection_class = _CheckedHTTPSConnection if is_https else _CheckedHTTPConnection
        connection = connection_class(parts.hostname or "", port, timeout=limit)
        path = parts.path or "/"
        path += f"?{parts.query}" if parts.query else ""
        with _deadline(connection, limit):
            connection.request(method, path, body=body, headers=headers, preload_content=False)
            response = connection.getresponse()
            text = response.read(most).decode("utf-8", "replace")
            retry_after = response.headers.get("Retry-After", "")
            return Answer(response.status, text.replace("\x00", ""), retry_after)
    except (OSError, HTTPError, HTTPException, ValueError) as error:
        raise Unreachable(str(error) or type(error).__name__) from error


def parse_retry_after(value: str, now: datetime) -> timedelta | None:
    """Return the time until the next request from a `Retry-After` header (RFC 9110 §10.2.3)."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:9]), 10**8))
    parsed = parse_http_date_safe(text) if text else None
    if parsed is None:
        return None
    return max(datetime.fromtimestamp(parsed, UTC) - now, timedelta())


def is_allowed(address: Address) -> bool:
    """Return True for public addresses and for `WEBHOOK_ALLOWED_NETWORKS`."""
    if any(address in network for network in settings.WEBHOOK_ALLOWED_NETWORKS):
        return True
    embedded = _embedded_ipv4(address)
    if embedded:
        return all(map(is_allowed, embedded))
    if any(address in network for network in FORBIDDEN_NETWORKS):
        return False
    return address.is_global and not address.is_multicast


def _embedded_ipv4(address: Address) -> list[ipaddress.IPv4Address]:
    """Return the IPv4 addresses that an IPv6 address contains (NAT64, IPv4-mapped, 6to4, Teredo)."""
    if not isinstance(address, ipaddress.IPv6Address):
        return []
    if address in NAT64:
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    if address.teredo is not None:
        return list(address.teredo)  # server and client
    embedded = address.ipv4_mapped or address.sixtofour
    return [] if embedded is None else [embedded]


class _CheckedConnection:
    """Connection mixin that connects to allowed addresses only.

    `raw_socket` is a duplicate of the connection's socket. `_deadline` shuts the duplicate
    down from another thread. The duplicate stays usable if TLS or the response replaces or
    closes the original socket.
    """

    host: str  # `host`, `port` and `default_port` are attributes of the connection
    port: Any
    default_port: Any
    raw_socket: socket.socket | None = None
    ends_at: float = float("inf")

    def _new_conn(self) -> socket.socket:
        port = self.port or self.default_port
        try:
            items = socket.getaddrinfo(self.host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Unreachable(f"The host name {self.host} cannot be resolved.") from error
        texts = list(dict.fromkeys(str(item[4][0]).partition("%")[0] for item in items))
        allowed = [text for text in texts if is_allowed(ipaddress.ip_address(text))]
        if not allowed:
            raise Unreachable(f"{self.host} is in an internal network.")
        failure: OSError | None = None
        for text in allowed[:3]:
            remaining = self.ends_at - time.monotonic()
            if remaining <= 0:
                break
            try:
                connected = socket.create_connection((text, port), min(remaining, TIMEOUT / 2))
            except OSError as error:
                failure = error
            else:
                connected.settimeout(max(0.1, self.ends_at - time.monotonic()))
                self.raw_socket = connected.dup()
                return connected
        raise Unreachable(f"{self.host} cannot be reached: {failure}.")


class _CheckedHTTPConnection(_CheckedConnection, HTTPConnection):
    pass


class _CheckedHTTPSConnection(_CheckedConnection, HTTPSConnection):
    pass


@contextmanager
def _deadline(
    connection: _CheckedHTTPConnection | _CheckedHTTPSConnection, seconds: float
) -> Iterator[None]:
    """Abort the request after some seconds, even if the server keeps sending single bytes."""
    connection.ends_at = time.monotonic() + seconds
    timed_out = threading.Event()

    def abort() -> None:
        timed_out.set()
        raw_socket = connection.raw_socket
        if raw_socket is not None:
            with suppress(OSError):
                raw_socket.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, abort)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if timed_out.is_set():
            raise Unreachable(f"No response within {seconds:.0f} s.") from error
        raise
    finally:
        timer.cancel()
        connection.close()
        if connection.raw_socket is not None:
            connection.raw_socket.close()
