"""Parsers of request bodies."""

import codecs
import io
import json
from collections.abc import Mapping
from typing import IO, Any

from django.core.exceptions import RequestDataTooBig
from rest_framework import exceptions
from rest_framework.parsers import JSONParser

# A body of a few megabytes can describe millions of values, which take a hundred times its size
# in memory and seconds of CPU time. The characters are counted before the body is parsed; those
# inside strings count too.
MAX_COMMAS = 250_000
MAX_BRACKETS = 20_000
# Between the values of a JSON text, blanks and line breaks mean the same.
_CONTROL_TO_BLANK = bytes(32 if byte < 32 else byte for byte in range(256))


class StrictJSONParser(JSONParser):
    """Parser that accepts only JSON without lone surrogates and without excessive nesting.

    Raises `RequestDataTooBig` if the body may contain too many values.
    """

    takes: type | tuple[type, ...] = dict
    accepts_surrogates = False

    def decoded(self, body: bytes) -> bytes:
        """Return the body in UTF-8."""
        return body

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        body = self.decoded(stream.read())
        if body.count(b",") > MAX_COMMAS or body.count(b"[") + body.count(b"{") > MAX_BRACKETS:
            raise RequestDataTooBig
        try:
            parsed = super().parse(io.BytesIO(body), media_type, parser_context)
            if (
                not self.accepts_surrogates and b"\\u" in body
            ):  # the only way to write a lone surrogate in UTF-8
                json.dumps(parsed, ensure_ascii=False).encode()
        except RecursionError as error:
            raise exceptions.ParseError("JSON parse error - nested too deeply") from error
        except UnicodeEncodeError as error:
            raise exceptions.ParseError("JSON parse error - lone surrogate") from error
        if not isinstance(parsed, self.takes):
            raise exceptions.ParseError("JSON parse error - an object is expected")
        return parsed


class DeviceJSONParser(StrictJSONParser):
    """Parser of a device's message. It reads all that has a clear meaning.

    It accepts a byte order mark, bytes that are not UTF-8, lone surrogates, control characters
    inside strings, and numbers that are not finite. The fields that contain them are cleaned or
    dropped later.
    """

    strict = False
    accepts_surrogates = True

    def decoded(self, body: bytes) -> bytes:
        """Return the body in UTF-8 without a byte order mark, and without control characters."""
        body = body.translate(_CONTROL_TO_BLANK)
        return body.removeprefix(codecs.BOM_UTF8).decode(errors="replace").encode()
