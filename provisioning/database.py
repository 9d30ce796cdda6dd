"""Settings of the PostgreSQL connection, by the role of the process."""

from dataclasses import dataclass
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

CONNECT_SECONDS = 5
UNANSWERED_SECONDS = 15  # until a connection whose packets are not acknowledged is closed


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Limits in seconds for the statements of a process. 0 is no limit."""

    statement: int
    lock: int
    idle_in_transaction: int

    def as_parameters(self) -> dict[str, int]:
        """Return PostgreSQL's parameters with their values in milliseconds."""
        return {
            "statement_timeout": self.statement * 1000,
            "lock_timeout": self.lock * 1000,
            "idle_in_transaction_session_timeout": self.idle_in_transaction * 1000,
        }


_SERVER = Timeouts(statement=20, lock=5, idle_in_transaction=60)
TIMEOUTS = {
    "web": _SERVER,
    "stream": _SERVER,
    "beat": _SERVER,
    "mqtt": _SERVER,
    # Below the soft time limit of a task (CELERY_TASK_SOFT_TIME_LIMIT).
    "worker": Timeouts(statement=170, lock=30, idle_in_transaction=300),
    # Migrations and exports. A migration must not wait long for a lock, because all other
    # statements on the table wait behind it.
    "command": Timeouts(statement=3600, lock=30, idle_in_transaction=3600),
}


def connection_settings(
    url: str, *, role: str, timeouts: Timeouts, prepared_statements: bool
) -> dict[str, Any]:
    """Return the value of Django's `DATABASES["default"]`.

    Parameters in the URL, such as `?sslmode=verify-full`, are passed to libpq and replace
    those that are set here.

    Args:
        role: one of `TIMEOUTS`; shown in `pg_stat_activity`.
        prepared_statements: False for a pooler that assigns a connection per transaction. It
            accepts no session state, so the timeouts are sent with each statement.

    Raises:
        ImproperlyConfigured: the URL is not the URL of a PostgreSQL database.
    """
    settings = dict(dj_database_url.parse(url, conn_max_age=600, conn_health_checks=True))
    if "postgresql" not in str(settings["ENGINE"]):
        raise ImproperlyConfigured("The URL of the database must be one of PostgreSQL.")
    settings["ENGINE"] = "tenants.postgresql"
    settings["DISABLE_SERVER_SIDE_CURSORS"] = not prepared_statements
    options: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "tcp_user_timeout": UNANSWERED_SECONDS * 1000,
        "keepalives": 1,
        "keepalives_idle": 30,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "application_name": f"provisioning-{role}",
    }
    if prepared_statements:
        parameters = timeouts.as_parameters().items()
        options["options"] = " ".join(f"-c {name}={value}" for name, value in parameters)
    settings["OPTIONS"] = {**options, **settings.get("OPTIONS", {})}
    return settings
