"""Fields that take what they say and nothing that could be made into it."""

from typing import Any

from rest_framework import serializers


class Text(serializers.CharField):
    """Text; unlike its base no number is taken for text."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))
