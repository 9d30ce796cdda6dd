"""The OpenAPI document of the server."""

import json
from functools import cache
from typing import Any

from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer

from provisioning.api import document


@cache
def openapi_document() -> dict[str, Any]:
    """Return the document that the server serves."""
    served: dict[str, Any] = json.loads(document.PATH.read_bytes())
    return served


def built_document() -> tuple[Any, list[str]]:
    """Build the document from the code. Return it with the generator's warnings and errors."""
    GENERATOR_STATS.reset()
    built = SchemaGenerator().get_schema(request=None, public=True)
    messages = [*GENERATOR_STATS._warn_cache, *GENERATOR_STATS._error_cache]
    return json.loads(OpenApiJsonRenderer().render(built)), [str(message) for message in messages]
