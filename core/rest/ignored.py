"""The field `ignored` of responses to devices."""

from collections.abc import Iterable
from typing import Any

from rest_framework import serializers

from core.ignored import Ignored


class IgnoredSerializer(serializers.Serializer[Any]):
    """A part of a device's message that could not be used as it was sent."""

    field = serializers.CharField(help_text="Dotted path of the field in the request body.")
    code = serializers.CharField()
    detail = serializers.CharField()


def ignored_response(ignored: Iterable[Ignored]) -> list[dict[str, str]]:
    """Return what was ignored as it appears in the response."""
    return [{"field": item.field, "code": item.code, "detail": item.detail} for item in ignored]
