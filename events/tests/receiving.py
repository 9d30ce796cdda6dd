"""A local HTTP server that receives webhooks in tests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network

from django.test import override_settings


@dataclass(slots=True)
class Receiver:
    """The received requests, and the response to send."""

    port: int = 0
    status: int = 200
    answer: bytes = b"thanks"
    location: str = ""
    retry_after: str = ""
    # path, headers with lower-case names, body
    received: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?x=1"


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Run a receiver on the loopback interface, and allow webhooks to this network."""
    state = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            state.received.append((self.path, headers, body))
            self.send_response(state.status)
            if state.location:
                self.send_header("Location", state.location)
            if state.retry_after:
                self.send_header("Retry-After", state.retry_after)
            self.send_header("Content-Length", str(len(state.answer)))
            self.end_headers()
            self.wfile.write(state.answer)

        def log_message(self, *args: object) -> None:
            """Do not log requests."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # many clients may connect at the same time

    server = Server(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with override_settings(WEBHOOK_ALLOWED_NETWORKS=[ip_network("127.0.0.0/8")]):
        yield state
    server.shutdown()
    server.server_close()
    thread.join()
