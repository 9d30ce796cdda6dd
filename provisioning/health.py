"""Health checks of the web server and the push server."""

import threading
import time
from typing import Literal

from django.conf import settings
from django.db import Error, connection, transaction
from django.http import HttpRequest, JsonResponse
from redis import ConnectionError as RedisConnectionError
from redis import Redis, RedisError
from redis import TimeoutError as RedisTimeoutError

from core.database_errors import sqlstate

State = Literal["ok", "away", "not_writable"]

CONNECTION_STATES = ("08", "57")  # connection lost; statement cancelled or server stopping
CHECK_EVERY = 2.0  # seconds; requests in between get the previous result
# Takes new disk space, which is freed at the end of the transaction. A change of an existing
# row would succeed on a full disk as long as its page has free space.
WRITE = (
    "CREATE TEMPORARY TABLE readiness_check ON COMMIT DROP AS"
    " SELECT repeat('x', 1000) FROM generate_series(1, 40)"
)


def live(request: HttpRequest) -> JsonResponse:
    """Liveness check. The servers answer it without calling this view (see `rsgi`)."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> JsonResponse:
    """Readiness check: 200 if database and broker accept writes, otherwise 503.

    In the body, each of them is `ok`, `away` (no answer) or `not_writable`: the database is
    read-only or its disk is full; the broker has no memory left or cannot save.
    """
    checks = _cached.checks()
    is_ready = all(state == "ok" for state in checks.values())
    body = {"status": "ok" if is_ready else "unavailable", "checks": checks}
    return JsonResponse(body, status=200 if is_ready else 503)


class CachedChecks:
    """The last result of the checks. It bounds the cost of many readiness requests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._checks: dict[str, State] = {}
        self._checked_at = 0.0

    def checks(self) -> dict[str, State]:
        with self._lock:
            if not self._checks or time.monotonic() - self._checked_at > CHECK_EVERY:
                self._checks = {"database": _database(), "broker": _broker()}
                self._checked_at = time.monotonic()
            return self._checks


_cached = CachedChecks()


def _database() -> State:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(WRITE)
    except Error as error:
        state = sqlstate(error)
        return "away" if not state or state.startswith(CONNECTION_STATES) else "not_writable"
    return "ok"


def _broker() -> State:
    client = Redis.from_url(settings.REDIS_BROKER_URL, socket_connect_timeout=1, socket_timeout=1)
    try:
        with client:
            client.set(f"{settings.KEY_PREFIX}readiness", "1", ex=60)
    except (RedisConnectionError, RedisTimeoutError):
        return "away"
    except RedisError:
        return "not_writable"
    return "ok"
