"""Error responses of the web server that are sent without running Django."""

import json

from core.errors import random_retry_after


class Refusal(Exception):
    """An error response that is sent without running Django. With 503, it has `Retry-After`.

    It closes the connection, because the rest of the body is not read. Raise a new instance
    each time: a shared one would keep the frames of all requests that have raised it.
    """

    status: int
    code: str
    detail: str

    @property
    def body(self) -> bytes:
        kind = "client_error" if self.status < 500 else "server_error"
        error = {"code": self.code, "detail": self.detail, "attr": None}
        return json.dumps({"type": kind, "errors": [error]}).encode()

    @property
    def headers(self) -> list[tuple[str, str]]:
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(self.body))),
            ("cache-control", "no-store"),
            ("connection", "close"),
        ]
        if self.status == 503:
            headers.append(("retry-after", str(random_retry_after())))
        return headers


class BodyTooLarge(Refusal):
    status = 413
    code = "request_too_large"
    detail = "The request body is too large."


class BodyTooSlow(Refusal):
    status = 408
    code = "request_timeout"
    detail = "The request body did not arrive in time."


class Overloaded(Refusal):
    status = 503
    code = "overloaded"
    detail = "The server has too many requests. Try again later."


class Unanswered(Refusal):
    status = 503
    code = "unavailable"
    detail = "The server could not answer in time."


class UploadNotStored(Refusal):
    status = 503
    code = "unavailable"
    detail = "The server cannot store the file now."


class UploadTruncated(Refusal):
    status = 400
    code = "upload_truncated"
    detail = "The upload was interrupted. Nothing was stored."


class UploadsBusy(Refusal):
    status = 429
    code = "uploads_busy"
    detail = "Too many files are being uploaded now."
