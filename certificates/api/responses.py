"""Answers that are not JSON: what verifiers and devices' own software fetch."""

from datetime import datetime, timedelta
from typing import IO, Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import http_date, quote_etag
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

LONGEST_IN_CACHE = timedelta(minutes=5)  # so soon a revocation is seen


class RawParser(BaseParser):
    """The body as it came, whatever it says that it is."""

    media_type = "*/*"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None
    ) -> Any:
        return stream.read()


def raw(request: Request) -> bytes:
    """What `RawParser` read; nothing when the request has no body."""
    content: Any = request.data
    return content if isinstance(content, bytes) else b""


def cacheable(
    request: HttpRequest,
    content: bytes,
    content_type: str,
    *,
    etag: str,
    made_at: datetime,
    until: datetime,
    now: datetime,
) -> HttpResponseBase:
    """A public answer that may be kept for a while, or 304 for who has it (RFC 9110 §13)."""
    seconds = int(min(LONGEST_IN_CACHE, until - now).total_seconds())
    response = HttpResponse(content, content_type=content_type)
    response["ETag"] = quote_etag(etag)
    response["Last-Modified"] = http_date(made_at.timestamp())
    response["Expires"] = http_date(
        (now + timedelta(seconds=max(0, seconds))).timestamp()
    )
    response["Cache-Control"] = (
        f"public, no-transform, must-revalidate, max-age={max(0, seconds)}"
    )
    found: HttpResponseBase | None = get_conditional_response(
        request,
        etag=response["ETag"],
        last_modified=int(made_at.timestamp()),
        response=response,
    )
    return found or response
