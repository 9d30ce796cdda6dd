"""HTTP to addresses that tenants name: never to one inside the server's own network.

The name is resolved here, each address is judged, and the connection is made to the
very address that was judged: what the name means a moment later is of no consequence.
Redirects are not followed.
"""

import ipaddress
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PATIENCE = 10.0  # seconds from the first byte sent to the last one read
MOST_READ = 1_000  # bytes of an answer that are kept
NAT64 = ipaddress.ip_network("64:ff9b::/96")


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
    parts = urlsplit(url)
    kind = _GuardedHTTPS if parts.scheme == "https" else _Guarded
    connection = kind(parts.hostname or "", parts.port, timeout=PATIENCE)
    path = parts.path or "/"
    path += f"?{parts.query}" if parts.query else ""
    try:
        with _deadline(connection):
            connection.request(
                "POST", path, body=body, headers=headers, preload_content=False
            )
            response = connection.getresponse()
            text = response.read(MOST_READ).decode("utf-8", "replace")
            return Answer(response.status, text.replace("\x00", ""))
    except (OSError, HTTPError, ValueError) as error:
        raise Unreachable(str(error) or type(error).__name__) from error
    finally:
        connection.close()


def may_be_reached(address: Address) -> bool:
    """Whether it lies outside, or the operator has allowed it."""
    if any(address in network for network in settings.WEBHOOK_ALLOWED_NETWORKS):
        return True
    inner = _inner(address)
    if inner is not None:
        return may_be_reached(inner)
    return address.is_global and not address.is_multicast


def _inner(address: Address) -> Address | None:
    """The IPv4 address that an IPv6 address stands for."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo and teredo[1])


class _Guarded(HTTPConnection):
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
            try:
                return socket.create_connection((text, port), PATIENCE / 2)
            except OSError as error:
                failure = error
        raise Unreachable(f"{self.host} cannot be reached: {failure}.")


class _GuardedHTTPS(HTTPSConnection):
    _new_conn = _Guarded._new_conn


@contextmanager
def _deadline(connection: HTTPConnection) -> Iterator[None]:
    """Hang up after `PATIENCE`, also on one who sends a byte now and then."""
    ended = threading.Event()

    def hang_up() -> None:
        ended.set()
        if connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(PATIENCE, hang_up)
    timer.start()
    try:
        yield
    except Exception as error:
        if ended.is_set():
            raise Unreachable(f"No answer within {PATIENCE:.0f} s.") from error
        raise
    finally:
        timer.cancel()
