"""Logging configuration. Every line contains the request id and the caller."""

import logging
import time
import unicodedata
from typing import Any

from core.database_errors import is_unavailable
from tenants.context import current_caller

REPEAT_SECONDS = 5.0  # between two lines about an unavailable database


class CallerFilter(logging.Filter):
    """Add the request id and the caller to every log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        caller = current_caller()
        record.request_id = caller.request_id
        record.caller = f"{caller.kind}:{caller.id}" if caller.id else caller.kind
        return True


class DatabaseUnavailableFilter(logging.Filter):
    """Log errors of an unavailable database in one line, once in a few seconds per logger.

    Otherwise an outage would log a traceback for each request and each task.
    """

    def __init__(self) -> None:
        super().__init__()
        self._logged_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not is_unavailable(error):
            error = error.__cause__ if error is not None else None  # of a domain error
        if not is_unavailable(error):
            return True
        previous, now = self._logged_at.get(record.name), time.monotonic()
        if previous is not None and now - previous < REPEAT_SECONDS:
            return False
        self._logged_at[record.name] = now
        reason = " ".join(str(error).split())[:300]
        record.msg, record.args = "The database is unavailable: %s", (reason,)
        record.exc_info = record.exc_text = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


class TextFormatter(logging.Formatter):
    """Write messages with control characters escaped, so that no input can forge a line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 # of logging
        return _escaped(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 # of logging
        return "\n".join(map(_escaped, super().formatException(ei).split("\n")))


def _escaped(text: str) -> str:
    """Escape control characters and those that change the direction of text."""
    return "".join(
        character
        if unicodedata.category(character) not in ("Cc", "Cf", "Zl", "Zp")
        else character.encode("unicode_escape").decode()
        for character in text
    )


def logging_config(*, level: str, formatter: str) -> dict[str, Any]:
    """Return the value of Django's `LOGGING` setting: log everything to the console.

    Args:
        level: the level of the root logger, for example `INFO`.
        formatter: `json` or `text`.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {
            "caller": {"()": "provisioning.logs.CallerFilter"},
            "database": {"()": "provisioning.logs.DatabaseUnavailableFilter"},
        },
        "formatters": {
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "format": "%(asctime)s %(levelname)s %(name)s %(message)s",
                "rename_fields": {"asctime": "at", "levelname": "level", "name": "logger"},
            },
            "text": {
                "()": "provisioning.logs.TextFormatter",
                "fmt": "%(levelname)s %(name)s: %(message)s",
            },
        },
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": formatter,
                "filters": ["caller", "database"],
            }
        },
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": "INFO", "propagate": True},
            "django.request": {"level": "ERROR"},  # 4xx are in the request log
            "django.security.DisallowedHost": {"handlers": [], "propagate": False},
            "django.server": {"handlers": [], "propagate": True},
            "axes": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
            "celery.beat": {"level": "WARNING"},
        },
    }
