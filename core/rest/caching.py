"""Conditional responses with `If-None-Match` (RFC 9110 §13.1.2)."""

from django.http import HttpRequest, HttpResponse
from django.utils.http import parse_etags
from rest_framework.request import Request


def not_modified_response(request: Request | HttpRequest, etag: str) -> HttpResponse | None:
    """Return a 304 response if `If-None-Match` matches the entity tag, else None."""
    tags = parse_etags(request.headers.get("If-None-Match", ""))
    matches = tags == ["*"] or etag in {tag.removeprefix("W/") for tag in tags}
    return HttpResponse(status=304, headers={"ETag": etag}) if matches else None
