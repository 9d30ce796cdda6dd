"""The documentation of the events: an AsyncAPI document, and a page for people."""

import json
from functools import cache
from hashlib import sha256
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from core.rest.caching import not_modified_response
from events.asyncapi import asyncapi_document, details_schema, webhook_events
from events.event_classes import description_of

CACHE_CONTROL = "public, max-age=300"
EXAMPLE = {
    "specversion": "1.0",
    "id": "9f3c01b27a64d85e",
    "source": "https://devices.example.com/t/acme",
    "type": "alert.opened",
    "subject": "0b6f0f0e-2f4c-4b8e-9d4e-6a1f5a7c3d21",
    "time": "2026-11-25T17:22:47.405273+00:00",
    "datacontenttype": "application/json",
    "dataschema": "https://devices.example.com/asyncapi#/components/schemas/alert.opened.data",
    "tenant": "4be0643f-1d98-473b-97cd-ca98a65347dd",
    "data": {
        "device": {"id": "0b6f0f0e-2f4c-4b8e-9d4e-6a1f5a7c3d21", "name": "Lobby 04"},
        "by": "system",
        "details": {
            "alert_id": "7d2a54c8-9b3f-4a61-8f0e-2c5d6e7f8a9b",
            "severity": "high",
            "title": "CPU > 90 %: 97.2 %",
            "devices": 1,
            "kind": "metric",
            "value": 97.2,
        },
        "changes": {},
        "link": "https://devices.example.com/t/acme/admin/monitoring/alert/7d2a54c8/change/",
    },
}


@require_safe
def asyncapi(request: HttpRequest) -> HttpResponse:
    """Return the AsyncAPI 3.0 document of the events."""
    content, etag = _document()
    headers = {"ETag": etag, "Cache-Control": CACHE_CONTROL}
    unchanged = not_modified_response(request, etag)
    return unchanged or HttpResponse(content, "application/json", headers=headers)


@require_safe
def events_page(request: HttpRequest) -> HttpResponse:
    """Show all events with the fields of their details."""
    context = {"subjects": _subjects(), "example": json.dumps(EXAMPLE, indent=2)}
    response = render(request, "portal/events.html", context)
    response.headers["Cache-Control"] = CACHE_CONTROL
    return response


@cache
def _document() -> tuple[bytes, str]:
    content = json.dumps(asyncapi_document(), separators=(",", ":")).encode()
    return content, f'"{sha256(content).hexdigest()[:32]}"'


@cache
def _subjects() -> dict[str, list[dict[str, Any]]]:
    """Return the events by the first part of their names, such as `alert`."""
    subjects: dict[str, list[dict[str, Any]]] = {}
    for name, kind in webhook_events().items():
        schema = details_schema(kind)
        fields = [(field, _type_name(part)) for field, part in schema["properties"].items()]
        paragraphs = [_with_code(text) for text in description_of(kind).split("\n\n")]
        event = {"name": name, "paragraphs": paragraphs, "fields": fields}
        subjects.setdefault(name.partition(".")[0], []).append(event)
    return subjects


def _type_name(schema: dict[str, Any]) -> str:
    types: list[str] = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    formats = {"date-time": "time (ISO 8601)", "uuid": "UUID"}
    first = formats.get(schema.get("format", ""), types[0])
    if first == "array":
        first = f"list of {_type_name(schema['items'])}s"
    return f"{first} or null" if "null" in types else first


def _with_code(text: str) -> SafeString:
    """Return a paragraph as HTML, with the parts between backticks as code."""
    parts = enumerate(text.split("`"))
    return format_html_join(
        "", "{}", ((format_html("<code>{}</code>", part) if n % 2 else part,) for n, part in parts)
    )
