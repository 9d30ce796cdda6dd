"""The OpenAPI document at `/schema`.

It is a file of the repository: building it takes seconds of CPU time, and changes of the API are
seen in each change of the code. A test compares it with the code. To write it again:

    ./run manage spectacular --format openapi-json --file provisioning/api/openapi.json
"""

import json
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request

from core.rest.caching import not_modified_response

PATH = Path(__file__).with_name("openapi.json")


class DocumentView(SpectacularAPIView):
    """Return the OpenAPI document. The YAML formats are the same text: JSON is valid YAML 1.2."""

    request_cost = 10  # it has half a megabyte

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        renderer: Any = request.accepted_renderer
        content, etag = document()
        headers = {
            "ETag": etag,
            "Cache-Control": "public, max-age=300",
            "Content-Disposition": f'inline; filename="provisioning.{renderer.format}"',
        }
        unchanged = not_modified_response(request, etag)
        return unchanged or HttpResponse(content, renderer.media_type, headers=headers)


@cache
def document() -> tuple[bytes, str]:
    """Return the document without indentation, and its entity tag (RFC 9110, section 8.8.3)."""
    content = json.dumps(json.loads(PATH.read_bytes()), separators=(",", ":")).encode()
    return content, f'"{sha256(content).hexdigest()[:32]}"'
