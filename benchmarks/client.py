"""A small HTTP/1.1 load generator with keep-alive connections.

Each connection sends one request at a time.
"""

import json
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import Queue
from typing import Any


@dataclass(frozen=True, slots=True)
class LoadResult:
    """The result of a load run."""

    answered: int
    failed: int
    seconds: float
    latencies: list[float]  # seconds, sorted

    @property
    def rate(self) -> float:
        return self.answered / self.seconds

    def percentile(self, share: float) -> float:
        """Return a percentile of the latencies in milliseconds. `share` is from 0 to 1."""
        index = min(len(self.latencies) - 1, int(share * len(self.latencies)))
        return self.latencies[index] * 1000


def post(path: str, body: bytes, token: str = "") -> bytes:
    """Return the bytes of a POST request with a JSON body."""
    credential = f"Authorization: Bearer {token}\r\n" if token else ""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{credential}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(path: str, token: str, *, headers: str = "") -> bytes:
    """Return the bytes of a GET request. Each line of `headers` ends with CRLF."""
    credential = f"Authorization: Bearer {token}\r\n" if token else ""
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{credential}{headers}"
    return f"{head}\r\n".encode()


@contextmanager
def json_client(port: int) -> Iterator[Callable[[bytes], Any]]:
    """Open a connection. Yield a function that sends a request and returns its JSON.

    The function raises RuntimeError for a status other than 2xx.
    """
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def send(request: bytes) -> Any:
            connection.sendall(request)
            status, body = _read_response(connection)
            if not 200 <= status < 300:
                raise RuntimeError(f"{status}: {body[:200]!r}")
            return json.loads(body)

        yield send


def run(
    port: int,
    requests: Sequence[bytes],
    *,
    connections: int,
    seconds: float,
    interval: float = 0.0,
    niceness: int = 0,
) -> LoadResult:
    """Send the requests repeatedly over some connections and measure the latencies.

    The load generator runs in a separate process, so that it does not wait for the GIL
    of the calling process.

    Args:
        port: The port on localhost.
        requests: The requests, which are distributed over the connections.
        connections: The number of connections.
        seconds: How long to send requests.
        interval: The seconds from one request of a connection to its next.
        niceness: How much the load generator yields the processor to other processes.
    """
    context = multiprocessing.get_context("fork")
    results: Queue[LoadResult] = context.Queue()
    process = context.Process(
        target=_run_connections,
        args=(port, requests, connections, seconds, interval, niceness, results),
    )
    process.start()
    result = results.get(timeout=seconds + 60)
    process.join()
    return result


def _run_connections(
    port: int,
    requests: Sequence[bytes],
    connections: int,
    seconds: float,
    interval: float,
    niceness: int,
    results: "Queue[LoadResult]",
) -> None:
    os.nice(niceness)
    latencies: list[float] = []
    failures: list[int] = []
    started = time.perf_counter()
    until = started + seconds
    threads = [
        threading.Thread(
            target=_run_connection,
            args=(port, requests[number::connections], until, interval, latencies, failures),
        )
        for number in range(connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    results.put(LoadResult(len(latencies), len(failures), elapsed, sorted(latencies)))


def _run_connection(
    port: int,
    requests: Sequence[bytes],
    until: float,
    interval: float,
    latencies: list[float],
    failures: list[int],
) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            for request in requests:
                started = time.perf_counter()
                if started > until:
                    return
                connection.sendall(request)
                status = _read_status(connection)
                if 200 <= status < 300 or status == 304:
                    latencies.append(time.perf_counter() - started)
                else:
                    failures.append(status)
                time.sleep(max(0.0, started + interval - time.perf_counter()))


def _read_status(connection: socket.socket) -> int:
    return _read_response(connection)[0]


def _read_response(connection: socket.socket) -> tuple[int, bytes]:
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        chunk = connection.recv(65536)
        if not chunk:
            raise ConnectionError("The server closed the connection.")
        received += chunk
    head = received[:end].lower()
    header_start = head.find(b"content-length:")
    length = int(head[header_start + 15 :].split(b"\r\n", 1)[0]) if header_start >= 0 else 0
    while len(received) < end + 4 + length:
        chunk = connection.recv(65536)
        if not chunk:
            return 0, b""
        received += chunk
    return int(head[9:12]), received[end + 4 :]
