"""Logging configuration. Every line contains the request id and the caller."""

import logging
from typing import Any

from tenants.context import current_caller


class CallerFilter(logging.Filter):
    """Add the request id and the caller to every log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        caller = current_caller()
        record.request_id = caller.request_id
        record.caller = f"{caller.kind}:{caller.id}" if caller.id else caller.kind
        return True


def logging_config(*, level: str, formatter: str) -> dict[str, Any]:
    """Return the value of Django's `LOGGING` setting: log everything to the console.

    Args:
        level: the level of the root logger, for example `INFO`.
        formatter: `json` or `text`.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"caller": {"()": "provisioning.logs.CallerFilter"}},
        "formatters": {
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "format": "%(asctime)s %(levelname)s %(name)s %(message)s",
                "rename_fields": {"asctime": "at", "levelname": "level", "name": "logger"},
            },
            "text": {"format": "%(levelname)s %(name)s: %(message)s"},
        },
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": formatter,
                "filters": ["caller"],
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
