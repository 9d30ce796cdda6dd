"""Request parsing and cacheable responses of endpoints that do not use JSON."""

from datetime import datetime, timedelta
from typing import IO, Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import http_date, quote_etag
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

MAX_CACHE_AGE = timedelta(minutes=5)  # caches show a revocation after at most this time


class RawParser(BaseParser):
    """Return the request body unchanged, for any content type."""

    media_type = "*/*"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None
    ) -> Any:
        return stream.read()


def raw(request: Request) -> bytes:
    """Return the body read by `RawParser`. It is empty if the request has no body."""
    content = request.data
    return content if isinstance(content, bytes) else b""


def cache_headers(
    *, etag: str, made_at: datetime, until: datetime, now: datetime
) -> dict[str, str]:
    """Return the headers for public caches, see `cacheable`."""
    seconds = max(0, int(min(MAX_CACHE_AGE, until - now).total_seconds()))
    return {
        "ETag": quote_etag(etag),
        "Last-Modified": http_date(made_at.timestamp()),
        "Expires": http_date((now + timedelta(seconds=seconds)).timestamp()),
        "Cache-Control": f"public, no-transform, must-revalidate, max-age={seconds}",
    }


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
    """Return a response with headers for public caches, or a 304 response (RFC 9110 §13).

    Args:
        made_at: when the content was created.
        until: when the content becomes invalid. Caches keep the content until then, but
            at most for `MAX_CACHE_AGE`.
    """
    headers = cache_headers(etag=etag, made_at=made_at, until=until, now=now)
    response = HttpResponse(content, content_type=content_type, headers=headers)
    conditional = get_conditional_response(
        request, etag=response["ETag"], last_modified=int(made_at.timestamp()), response=response
    )
    return conditional or response
