"""A small HTTP/1.1 load generator: keep-alive connections, one request at a time each."""

import json
import multiprocessing
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import Queue
from typing import Any


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run of requests came to."""

    answered: int
    failed: int
    seconds: float
    latencies: list[float]  # seconds, sorted

    @property
    def rate(self) -> float:
        return self.answered / self.seconds

    def percentile(self, share: float) -> float:
        """In milliseconds."""
        index = min(len(self.latencies) - 1, int(share * len(self.latencies)))
        return self.latencies[index] * 1000


def post(path: str, body: bytes, token: str = "") -> bytes:
    """The bytes of a request."""
    credential = f"Authorization: Bearer {token}\r\n" if token else ""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{credential}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(path: str, token: str, *, more: str = "") -> bytes:
    """The bytes of a request; `more` are header lines with their ends."""
    credential = f"Authorization: Bearer {token}\r\n" if token else ""
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{credential}{more}"
    return f"{head}\r\n".encode()


@contextmanager
def connected(port: int) -> Iterator[Callable[[bytes], Any]]:
    """One connection, on which requests are answered with JSON one after the other."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def ask(request: bytes) -> Any:
            connection.sendall(request)
            status, body = _read_whole(connection)
            if not 200 <= status < 300:
                raise RuntimeError(f"{status}: {body[:200]!r}")
            return json.loads(body)

        yield ask


def run(
    port: int, requests: Sequence[bytes], *, connections: int, seconds: float
) -> Figures:
    """Send the requests round and round from one more process, and count.

    A process of its own, so that the generator does not wait for this one's GIL.
    """
    context = multiprocessing.get_context("fork")
    answers: Queue[Figures] = context.Queue()
    child = context.Process(
        target=_drive, args=(port, requests, connections, seconds, answers)
    )
    child.start()
    figures = answers.get(timeout=seconds + 60)
    child.join()
    return figures


def _drive(
    port: int,
    requests: Sequence[bytes],
    connections: int,
    seconds: float,
    answers: "Queue[Figures]",
) -> None:
    latencies: list[float] = []
    failures: list[int] = []
    begun = time.perf_counter()
    until = begun + seconds
    threads = [
        threading.Thread(
            target=_one_connection,
            args=(port, requests[number::connections], until, latencies, failures),
        )
        for number in range(connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.perf_counter() - begun
    answers.put(Figures(len(latencies), len(failures), spent, sorted(latencies)))


def _one_connection(
    port: int,
    requests: Sequence[bytes],
    until: float,
    latencies: list[float],
    failures: list[int],
) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            for request in requests:
                begun = time.perf_counter()
                if begun > until:
                    return
                connection.sendall(request)
                status = _read_answer(connection)
                if 200 <= status < 300 or status == 304:
                    latencies.append(time.perf_counter() - begun)
                else:
                    failures.append(status)


def _read_answer(connection: socket.socket) -> int:
    return _read_whole(connection)[0]


def _read_whole(connection: socket.socket) -> tuple[int, bytes]:
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        more = connection.recv(65536)
        if not more:
            raise ConnectionError("The server closed the connection.")
        received += more
    head = received[:end].lower()
    mark = head.find(b"content-length:")
    length = int(head[mark + 15 :].split(b"\r\n", 1)[0]) if mark >= 0 else 0
    while len(received) < end + 4 + length:
        more = connection.recv(65536)
        if not more:
            return 0, b""
        received += more
    return int(head[9:12]), received[end + 4 :]
