"""Structured logs: every line bears the request id and the caller."""

import logging

from tenants.context import current_caller


class CallerFilter(logging.Filter):
    """Puts the request id, and who called, on every log line."""

    def filter(self, record: logging.LogRecord) -> bool:
        caller = current_caller()
        record.request_id = caller.request_id
        record.caller = f"{caller.kind}:{caller.id}" if caller.id else caller.kind
        return True
