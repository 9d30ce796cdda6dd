"""The OpenAPI document at `/schema`, built once per process."""

import threading
from hashlib import sha256
from typing import Any, ClassVar

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request

from core.errors import Unavailable
from core.rest.caching import not_modified_response


class DocumentNotReady(Unavailable):
    code = "document_not_ready"
    sentence = "The document is being built. Try again in a few seconds."
    retry_after = 5  # seconds


class Document:
    """The rendered document by media type. A build takes seconds of CPU time.

    Only one thread builds it. The others do not wait, so they stay free for other requests.
    """

    def __init__(self) -> None:
        self._rendered: dict[str, bytes] = {}
        self._building = threading.Lock()

    def rendered(self, renderer: Any, generator_class: Any) -> bytes:
        """Return the document in the media type of a renderer.

        Raises:
            DocumentNotReady: another thread is building the document.
        """
        content = self._rendered.get(renderer.media_type)
        if content is not None:
            return content
        if not self._building.acquire(blocking=False):
            raise DocumentNotReady
        try:
            schema = generator_class().get_schema(request=None, public=True)
            content = renderer.render(schema, renderer_context={})
            self._rendered[renderer.media_type] = content
            return content
        finally:
            self._building.release()


class DocumentView(SpectacularAPIView):
    """Return the OpenAPI document as YAML or JSON, depending on `Accept` or `?format=`."""

    request_cost = 10  # it has half a megabyte
    document: ClassVar[Document] = Document()

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        renderer: Any = request.accepted_renderer
        content = self.document.rendered(renderer, self.generator_class)
        etag = f'"{sha256(content).hexdigest()[:32]}"'
        unchanged = not_modified_response(request, etag)
        headers = {
            "ETag": etag,
            "Cache-Control": "public, max-age=300",
            "Content-Disposition": f'inline; filename="{_name(renderer)}"',
        }
        return unchanged or HttpResponse(content, renderer.media_type, headers=headers)


def _name(renderer: Any) -> str:
    return f"provisioning.{renderer.format}"
