"""The web server's entry."""

import logging
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.core.wsgi import get_wsgi_application
from django.db import OperationalError, connections

from provisioning.processes import die_with_parent
from tenants.postgresql.row_security import refuse_to_start_without_wall

logger = logging.getLogger(__name__)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "provisioning.settings")

# The server's own end may come too suddenly for it to end its workers, and an orphan
# would keep the port.
die_with_parent(signal.SIGKILL)

application = get_wsgi_application()

Headers = list[tuple[str, str]]


def answered(environ: dict[str, Any]) -> tuple[int, Headers, bytes]:
    """The whole answer to one request: status, headers, body."""
    status, headers, response = begun(environ)
    try:
        content = b"".join(response)
    finally:
        response.close()
    return status, headers, content


def begun(environ: dict[str, Any]) -> tuple[int, Headers, Any]:
    """The same with Django's response: its body in pieces, for the caller to close."""
    told: list[tuple[int, Headers]] = []

    def start(status: str, headers: Headers, *args: Any) -> None:
        told.append((int(status[:3]), headers))

    response: Any = application(environ, start)  # type: ignore[arg-type]
    return *told[0], response


def _check_the_wall() -> None:
    try:
        refuse_to_start_without_wall()
    except OperationalError:
        logger.warning("The database is away: the wall between tenants is unchecked.")
    finally:
        connections.close_all()


# In a thread: the push channel's server imports this where nobody may wait.
with ThreadPoolExecutor(1) as once:
    once.submit(_check_the_wall).result()
