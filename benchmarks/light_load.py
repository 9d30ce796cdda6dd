"""A load generator that takes little of the processor: one thread, one request at a time each.

It takes about ten microseconds for a request, so that the servers get most of the processor.
"""

import multiprocessing
import select
import socket
import time
from collections.abc import Sequence
from multiprocessing.queues import Queue

from benchmarks.load import LoadResult

SUCCESSES = (b"HTTP/1.1 2", b"HTTP/1.1 304")
HEAD_END = b"\r\n\r\n"


def run(port: int, requests: Sequence[bytes], *, connections: int, seconds: float) -> LoadResult:
    """Send the requests in turn over some connections and measure the latencies.

    Args:
        requests: requests whose answers fit into one read.
    """
    context = multiprocessing.get_context("fork")
    results: Queue[LoadResult] = context.Queue()
    process = context.Process(
        target=lambda: results.put(_run(port, requests, connections, seconds))
    )
    process.start()
    result = results.get(timeout=seconds + 60)
    process.join()
    return result


def _run(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> LoadResult:
    poll, sockets = select.epoll(), {}
    for _ in range(connections):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[connection.fileno()] = connection
        poll.register(connection, select.EPOLLIN)
    clock, idle = time.perf_counter, list(sockets)
    sent_at: dict[int, float] = {}
    latencies: list[float] = []
    failed = sent = 0
    start = clock()
    until, last = start + seconds, start + seconds + 10
    while True:
        now = clock()
        if now < until:
            while idle:
                number = idle.pop()
                sockets[number].send(requests[sent % len(requests)])
                sent_at[number] = clock()
                sent += 1
        elif not sent_at or now > last:
            break
        for number, _ in poll.poll(0.1):
            answer = sockets[number].recv(65536)
            latencies.append(clock() - sent_at.pop(number))
            failed += not answer.startswith(SUCCESSES)
            idle.append(number)
            if not answer:
                raise ConnectionError("The server has closed the connection.")
    failed += len(sent_at)
    elapsed = min(clock(), until) - start
    for connection in sockets.values():
        connection.close()
    return LoadResult(len(latencies), failed, elapsed, sorted(latencies))
