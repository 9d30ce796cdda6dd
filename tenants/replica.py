"""Read lists and charts of members from a streaming replica, if `DATABASE_REPLICA_URL` is set.

A replica gets each change a moment later than the primary. A member who has just changed
something reads from the primary, so that the next list shows the change. If the replica is too far behind or does not
answer, everybody does.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.db import DEFAULT_DB_ALIAS, Error, connections
from django.http import HttpRequest, HttpResponse
from redis import Redis, RedisError

from core.list_database import chosen_by
from tenants.context import current_caller

REPLICA = "replica"
MAX_LAG = 5.0  # seconds
CHECK_EVERY = 2.0  # seconds in which the result of a check is used
AVOID = 10.0  # seconds for which a replica that does not answer is not used
CHANGED = 10  # seconds for which a member reads from the primary; more than the times above
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}

# On an idle primary, this time grows although the replica is not behind. It is not used then.
_IS_CURRENT = """
    SELECT pg_is_in_recovery()
        AND now() - pg_last_xact_replay_timestamp() < %s * interval '1 second'
"""


class ReplicaMiddleware:
    """Choose the database of lists for each request."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        if REPLICA not in settings.DATABASES:
            raise MiddlewareNotUsed
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method in SAFE_METHODS:
            with chosen_by(_database):
                return self.get_response(request)
        response = self.get_response(request)
        _note_change()
        return response


class ReplicaState:
    """Whether the replica may be used. The state is checked at most every `CHECK_EVERY`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next_check = 0.0
        self._is_current = False

    def is_current(self) -> bool:
        with self._lock:
            if (now := time.monotonic()) < self._next_check:
                return self._is_current
            self._next_check = now + CHECK_EVERY  # other threads use the last result meanwhile
        try:
            with connections[REPLICA].cursor() as cursor:
                cursor.execute(_IS_CURRENT, [MAX_LAG])
                self._is_current = bool(cursor.fetchone()[0])
        except Error:
            self._is_current, self._next_check = False, time.monotonic() + AVOID
        return self._is_current


state = ReplicaState()


def _database() -> str:
    """Return the database of a list, after the authentication of the request."""
    caller = current_caller()
    if caller.kind != "member" or not state.is_current():
        return DEFAULT_DB_ALIAS
    try:
        has_changed = _redis(settings.REDIS_COUNTERS_URL).exists(_key(caller.id))
    except RedisError:
        return DEFAULT_DB_ALIAS
    return DEFAULT_DB_ALIAS if has_changed else REPLICA


def _note_change() -> None:
    caller = current_caller()
    if caller.kind != "member":
        return
    with suppress(RedisError):  # lists are read from the primary while Redis is away
        _redis(settings.REDIS_COUNTERS_URL).set(_key(caller.id), 1, ex=CHANGED)


def _key(caller_id: str) -> str:
    return f"{settings.KEY_PREFIX}changed:{caller_id}"


@lru_cache(maxsize=4)
def _redis(url: str) -> Any:
    return Redis.from_url(url, socket_connect_timeout=0.5, socket_timeout=0.5)
