"""The OpenAPI document at `/schema`, built once per process."""

import os
import subprocess
import sys
import threading
from hashlib import sha256
from typing import Any, ClassVar

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request

from core.errors import Unavailable
from core.rest.caching import not_modified_response
from provisioning.var import BASE

MAX_BUILD_SECONDS = 120
_COMMAND_FORMATS = {"yaml": "openapi", "json": "openapi-json"}


class DocumentNotReady(Unavailable):
    code = "document_not_ready"
    sentence = "The document is being built. Try again in a few seconds."
    retry_after = 5  # seconds


class Document:
    """The rendered document by format. A build takes seconds of CPU time.

    It runs in a process of its own with a low priority, so that it does not slow down
    other requests. Only one thread waits for it, so the others stay free.
    """

    def __init__(self) -> None:
        self._rendered: dict[str, bytes] = {}
        self._building = threading.Lock()

    def rendered(self, format_name: str) -> bytes:
        """Return the document as `yaml` or `json`.

        Raises:
            DocumentNotReady: another thread is building the document.
        """
        content = self._rendered.get(format_name)
        if content is not None:
            return content
        if not self._building.acquire(blocking=False):
            raise DocumentNotReady
        try:
            content = self._rendered[format_name] = _build(format_name)
            return content
        finally:
            self._building.release()


def _build(format_name: str) -> bytes:
    command = [
        sys.executable,
        "manage.py",
        "spectacular",
        "--format",
        _COMMAND_FORMATS[format_name],
    ]
    environment = {**os.environ, "PROCESS_ROLE": "command"}
    with subprocess.Popen(command, cwd=BASE, stdout=subprocess.PIPE, env=environment) as process:
        os.setpriority(os.PRIO_PROCESS, process.pid, 10)
        try:
            content, _ = process.communicate(timeout=MAX_BUILD_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return content


class DocumentView(SpectacularAPIView):
    """Return the OpenAPI document as YAML or JSON, depending on `Accept` or `?format=`."""

    request_cost = 10  # it has half a megabyte
    document: ClassVar[Document] = Document()

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        renderer: Any = request.accepted_renderer
        content = self.document.rendered(renderer.format)
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
