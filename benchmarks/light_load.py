"""A load generator that takes little of the processor: one thread, one request at a time each.

It takes about ten microseconds for a request, so that the servers get most of the processor.
"""

import multiprocessing
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.queues import Queue
from typing import Any

from benchmarks.client import LoadResult

SUCCESSES = (b"HTTP/1.1 2", b"HTTP/1.1 304")


def run(port: int, requests: Sequence[bytes], *, connections: int, seconds: float) -> LoadResult:
    """Send the requests in turn over some connections and measure the latencies.

    Args:
        requests: requests whose answers fit into one read.
    """
    return _in_process(
        _Generator, port, lambda n: requests[n % len(requests)], connections, seconds
    )


def run_at_rate(
    port: int, request: Callable[[int], bytes], *, rate: float, connections: int, seconds: float
) -> LoadResult:
    """Send requests at a fixed rate, whether or not the earlier ones have been answered.

    A latency begins when the request is due, so it includes the wait for a connection.

    Args:
        request: returns the request with this number.
        rate: requests a second.
    """
    return _in_process(_TimedGenerator, port, request, connections, seconds, rate)


def _in_process(generator: "type[_Generator]", *arguments: Any) -> LoadResult:
    context = multiprocessing.get_context("fork")
    results: Queue[LoadResult] = context.Queue()
    process = context.Process(target=lambda: results.put(generator(*arguments).run()))
    process.start()
    while process.is_alive() and results.empty():
        time.sleep(0.1)
    result = results.get(timeout=10)
    process.join()
    return result


class _Generator:
    """Each connection sends the next request when its last one is answered."""

    def __init__(
        self, port: int, request: Callable[[int], bytes], connections: int, seconds: float
    ) -> None:
        self._request, self._seconds = request, seconds
        self._poll, self._sockets = select.epoll(), {}
        for _ in range(connections):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[connection.fileno()] = connection
            self._poll.register(connection, select.EPOLLIN)
        self._idle = deque(self._sockets)
        self._sent_at: dict[int, float] = {}
        self._sent = 0

    def run(self) -> LoadResult:
        clock = time.perf_counter
        latencies: list[float] = []
        failed = 0
        start = clock()
        until, last = start + self._seconds, start + self._seconds + 10
        while True:
            now = clock()
            if now < until:
                pause = self._send(now - start, start)
            elif not self._sent_at or now > last:
                break
            else:
                pause = 0.1
            for number, _ in self._poll.poll(pause):
                answer = self._sockets[number].recv(65536)
                latencies.append(clock() - self._sent_at.pop(number))
                failed += not answer.startswith(SUCCESSES)
                self._idle.append(number)
                if not answer:
                    raise ConnectionError("The server has closed the connection.")
        elapsed = min(clock(), until) - start
        for connection in self._sockets.values():
            connection.close()
        return LoadResult(len(latencies), failed + len(self._sent_at), elapsed, sorted(latencies))

    def _send(self, elapsed: float, start: float) -> float:
        """Send what is due. Return the seconds until more is due, at most."""
        while self._idle:
            self._send_one(time.perf_counter())
        return 0.1

    def _send_one(self, due: float) -> None:
        number = self._idle.popleft()
        self._sockets[number].send(self._request(self._sent))
        self._sent_at[number] = due
        self._sent += 1


class _TimedGenerator(_Generator):
    """The requests are due at a fixed rate. Those without an idle connection wait."""

    def __init__(self, *arguments: Any) -> None:
        *others, self._rate = arguments
        super().__init__(*others)

    def _send(self, elapsed: float, start: float) -> float:
        while self._idle and self._sent < elapsed * self._rate:
            self._send_one(start + self._sent / self._rate)
        return 0.001
