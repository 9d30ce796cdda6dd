"""WSGI application, and functions that call it for one request."""

import logging
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from django.core.wsgi import get_wsgi_application
from django.db import OperationalError, connections

from provisioning.processes import die_with_parent
from tenants.postgresql.row_security import require_row_security

logger = logging.getLogger(__name__)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "provisioning.settings")

# When the server is killed, it cannot stop its workers. An orphaned worker would keep
# the port in use.
die_with_parent(signal.SIGKILL)

application = get_wsgi_application()

Headers = list[tuple[str, str]]


def full_response(environ: dict[str, Any]) -> tuple[int, Headers, bytes]:
    """Handle one request. Return status, headers and the complete body."""
    status, headers, response = open_response(environ)
    try:
        content = b"".join(response)
    finally:
        response.close()
    return status, headers, content


def open_response(environ: dict[str, Any]) -> tuple[int, Headers, Any]:
    """Handle one request. Return status, headers and Django's response.

    The response yields the body in pieces. The caller must close the response.
    """
    start_line: list[tuple[int, Headers]] = []

    def start_response(status: str, headers: Headers, *args: Any) -> None:
        start_line.append((int(status[:3]), headers))

    response: Any = application(environ, cast(Any, start_response))
    return *start_line[0], response


def _check_row_security() -> None:
    try:
        require_row_security()
    except OperationalError:
        logger.warning("The database is unreachable. Row-level security was not checked.")
    finally:
        connections.close_all()


# Run the check in a thread. The push server imports this module in its event loop, where
# Django does not allow database queries.
with ThreadPoolExecutor(1) as executor:
    executor.submit(_check_row_security).result()
