"""Django's PostgreSQL backend, whose health check knows when it can be spared.

Django asks a kept connection `SELECT 1` at the start of every request. A connection
that answered a moment ago is not asked again: on the hot path that is a third of all
statements. One that breaks within that moment fails its request, and the next request
gets a new one.
"""

import time
from typing import Any

from django.db.backends.postgresql import base

TRUSTED_FOR = 1.0  # seconds


class DatabaseWrapper(base.DatabaseWrapper):
    """Checks a connection's health only after a pause."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._answered_at = 0.0

    def close_if_health_check_failed(self) -> None:
        now = time.monotonic()
        if now - self._answered_at > TRUSTED_FOR:
            super().close_if_health_check_failed()
        self._answered_at = now

    def close_if_unusable_or_obsolete(self) -> None:
        if self.errors_occurred:
            self._answered_at = 0.0
        super().close_if_unusable_or_obsolete()
