"""Answers that need not be sent again (RFC 9110 §13.1.2)."""

from django.http import HttpRequest, HttpResponse
from django.utils.http import parse_etags
from rest_framework.request import Request


def unchanged(request: Request | HttpRequest, etag: str) -> HttpResponse | None:
    """304 if the caller says that it has this already."""
    said = parse_etags(request.headers.get("If-None-Match", ""))
    has_it = said == ["*"] or etag in {tag.removeprefix("W/") for tag in said}
    return HttpResponse(status=304, headers={"ETag": etag}) if has_it else None
