"""Serializer fields that accept only the exact JSON type, without conversion."""

import re
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.characters import FORBIDDEN, INVISIBLE

ONE_LINE = rf"[^{FORBIDDEN}]*"
NOT_BLANK = rf"[^{FORBIDDEN}]*[^\s{FORBIDDEN}{INVISIBLE}][^{FORBIDDEN}]*"
CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?"
PEM = r"\s*-----BEGIN [A-Z ]+-----[\s\S]+-----END [A-Z ]+-----\s*"


class StrictCharField(serializers.CharField):
    """A single line of text. Unlike `CharField`, it does not accept numbers.

    Args:
        pattern: regular expression for the whole text, shown in the OpenAPI document.
    """

    default_error_messages = {  # noqa: RUF012 # DRF merges the messages of all classes
        "pattern": "The value does not have the expected format."
    }

    def __init__(self, *, pattern: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pattern = pattern or (ONE_LINE if self.allow_blank else NOT_BLANK)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        if self.max_length is not None and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        if "\x00" not in data and not re.fullmatch(self.pattern, data):
            self.fail("pattern")
        return str(super().to_internal_value(data))


class ExactCharField(StrictCharField):
    """A text that identifies something. In a device's message it is never cut or changed."""


class PEMField(StrictCharField):
    """A text in PEM (RFC 7468)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(pattern=PEM, **kwargs)


class CodeField(StrictCharField):
    """A code for programs, of lower-case letters, digits, hyphens, dots and underscores."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(pattern="[a-z0-9_.-]*", **kwargs)


class StrictIntegerField(serializers.IntegerField):
    """A JSON number without a fraction. Strings and booleans are not accepted."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        if isinstance(data, float) and not data.is_integer():
            self.fail("invalid")
        return int(super().to_internal_value(int(data)))


class StrictBooleanField(serializers.BooleanField):
    """A JSON boolean. Strings and numbers are not accepted."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


@extend_schema_field({"type": "string", "pattern": f"^{CLOCK}$"})
class LocalTimeField(serializers.TimeField):
    """A local time of day without a UTC offset: `07:30` or `07:30:00`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(format="%H:%M:%S", **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str) or not re.fullmatch(CLOCK, data):
            self.fail("invalid", format="hh:mm[:ss]")
        return super().to_internal_value(data)


@extend_schema_field({})
class JSONValueField(serializers.JSONField):
    """Any JSON value. The field does not validate the value; the service does."""


@extend_schema_field({"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]})
class IPAddressField(serializers.IPAddressField):
    """An IPv4 or IPv6 address."""
