"""The OpenAPI document. It is built once per process, because a build takes seconds."""

import json
from functools import cache
from typing import Any

from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer

_WARNINGS: list[str] = []


@cache
def openapi_document() -> dict[str, Any]:
    GENERATOR_STATS.reset()
    document = SchemaGenerator().get_schema(request=None, public=True)
    for messages in (GENERATOR_STATS._warn_cache, GENERATOR_STATS._error_cache):
        _WARNINGS.extend(str(message) for message in messages)
    decoded: dict[str, Any] = json.loads(OpenApiJsonRenderer().render(document))
    return decoded


def openapi_warnings() -> list[str]:
    """Return the generator's warnings and errors about the OpenAPI document."""
    openapi_document()
    return _WARNINGS
