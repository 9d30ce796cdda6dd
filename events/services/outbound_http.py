"""HTTP to addresses that tenants name: never to one inside the server's own network.

The name is resolved here, each address is judged, and the connection is made to the
very address that was judged: what the name means a moment later is of no consequence.
Redirects are not followed.
"""

import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PATIENCE = 10.0  # seconds from the first byte sent to the last one read
MOST_READ = 1_000  # bytes of an answer that are kept
NAT64 = ipaddress.ip_network("64:ff9b::/96")
INSIDE = tuple(
    map(ipaddress.ip_network, ("64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96"))
)  # translators of a network's own, and what nobody should use any more


class Unreachable(Exception):
    """Nothing was sent, or nothing came back; says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    text: str


def post(url: str, body: bytes, headers: dict[str, str]) -> Answer:
    """Send it once.

    Raises:
        Unreachable: no address may be used, nobody answers, or not in time.
    """
    try:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        kind = _GuardedHTTPS if secure else _Guarded
        connection = kind(parts.hostname or "", port, timeout=PATIENCE)
        path = parts.path or "/"
        path += f"?{parts.query}" if parts.query else ""
        with _deadline(connection):
            connection.request(
                "POST", path, body=body, headers=headers, preload_content=False
            )
            response = connection.getresponse()
            text = response.read(MOST_READ).decode("utf-8", "replace")
            return Answer(response.status, text.replace("\x00", ""))
    except (OSError, HTTPError, HTTPException, ValueError) as error:
        raise Unreachable(str(error) or type(error).__name__) from error


def may_be_reached(address: Address) -> bool:
    """Whether it lies outside, or the operator has allowed it."""
    if any(address in network for network in settings.WEBHOOK_ALLOWED_NETWORKS):
        return True
    inner = _inner(address)
    if inner is not None:
        return may_be_reached(inner)
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return False
    if any(address in network for network in INSIDE):
        return False
    return address.is_global and not address.is_multicast


def _inner(address: Address) -> Address | None:
    """The IPv4 address that an IPv6 address stands for."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo and teredo[1])


class _Guard:
    """Connects to addresses that it has judged, and can be hung up on from outside."""

    host: str  # of the connection that it is mixed into, as the next two
    port: Any
    default_port: Any
    line: socket.socket | None = None  # beside what TLS and answers make of it
    ends_at: float = float("inf")

    def _new_conn(self) -> socket.socket:
        port = self.port or self.default_port
        try:
            found = socket.getaddrinfo(self.host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Unreachable(f"The name {self.host} is not known.") from error
        named = list(dict.fromkeys(str(item[4][0]).partition("%")[0] for item in found))
        allowed = [text for text in named if may_be_reached(ipaddress.ip_address(text))]
        if not allowed:
            raise Unreachable(f"{self.host} lies inside the server's own network.")
        failure: OSError | None = None
        for text in allowed[:3]:
            left = self.ends_at - time.monotonic()
            if left <= 0:
                break
            try:
                made = socket.create_connection((text, port), min(left, PATIENCE / 2))
            except OSError as error:
                failure = error
            else:
                made.settimeout(max(0.1, self.ends_at - time.monotonic()))
                self.line = made.dup()
                return made
        raise Unreachable(f"{self.host} cannot be reached: {failure}.")


class _Guarded(_Guard, HTTPConnection):
    pass


class _GuardedHTTPS(_Guard, HTTPSConnection):
    pass


@contextmanager
def _deadline(connection: _Guarded | _GuardedHTTPS) -> Iterator[None]:
    """Hang up after `PATIENCE`, also on one who sends a byte now and then."""
    connection.ends_at = time.monotonic() + PATIENCE
    ended = threading.Event()

    def hang_up() -> None:
        ended.set()
        line = connection.line
        if line is not None:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(PATIENCE, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if ended.is_set():
            raise Unreachable(f"No answer within {PATIENCE:.0f} s.") from error
        raise
    finally:
        timer.cancel()
        connection.close()
        if connection.line is not None:
            connection.line.close()
