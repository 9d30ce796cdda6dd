"""Parsers of request bodies."""

import json
from collections.abc import Mapping
from typing import IO, Any

from rest_framework import exceptions
from rest_framework.parsers import JSONParser


class StrictJSONParser(JSONParser):
    """Parser that accepts only JSON without lone surrogates and without excessive nesting."""

    takes: type | tuple[type, ...] = dict

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        try:
            parsed = super().parse(stream, media_type, parser_context)
            json.dumps(parsed, ensure_ascii=False).encode()
        except RecursionError as error:
            raise exceptions.ParseError("JSON parse error - nested too deeply") from error
        except UnicodeEncodeError as error:
            raise exceptions.ParseError("JSON parse error - lone surrogate") from error
        if not isinstance(parsed, self.takes):
            raise exceptions.ParseError("JSON parse error - an object is expected")
        return parsed
