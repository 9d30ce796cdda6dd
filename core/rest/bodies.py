"""Validation of request bodies."""

from typing import Any

from rest_framework.request import Request
from rest_framework.serializers import Serializer


def validated_body(serializer_class: type[Serializer[Any]], request: Request) -> dict[str, Any]:
    """Validate the request body; return the validated data.

    Raises:
        ValidationError: the body is invalid.
    """
    body = serializer_class(data=request.data)
    body.is_valid(raise_exception=True)
    return dict(body.validated_data)
