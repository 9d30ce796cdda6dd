"""How bodies with samples are read: gzip is undone, and NaN is left for the judge."""

import io
import zlib
from collections.abc import Mapping
from typing import IO, Any

from django.core.exceptions import RequestDataTooBig
from rest_framework import exceptions
from rest_framework.request import Request

from core.rest.parsers import StrictJSONParser

MOST_BYTES = 8 * 1024 * 1024  # of a body that was compressed
GZIP = 31  # zlib's name for gzip's frame with the largest window


class SamplesParser(StrictJSONParser):
    """JSON of one sample, of a list of them, or of a batch; as it is or as gzip.

    What is no JSON by the letter, NaN and the infinities, is read all the same: so the
    sample that has it can be named, and the others kept.
    """

    strict = False
    takes = (dict, list)

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        assert parser_context is not None
        body = stream.read()
        encoding = _encoding_of(parser_context["request"])
        if encoding == "gzip":
            body = _unzipped(body)
        elif encoding != "identity":
            raise UnknownEncoding(encoding)
        return super().parse(io.BytesIO(body), media_type, parser_context)


class UnknownEncoding(exceptions.APIException):
    status_code = 415  # RFC 9110 §8.4
    default_code = "unsupported_encoding"

    def __init__(self, encoding: str) -> None:
        super().__init__(f"A body comes plain or as gzip, not as {encoding[:40]!r}.")


def _encoding_of(request: Request) -> str:
    named: str = request.headers.get("Content-Encoding", "").strip().lower()
    return {"": "identity", "x-gzip": "gzip"}.get(named, named)


def _unzipped(body: bytes) -> bytes:
    """
    Raises:
        RequestDataTooBig: it swells to more than a request may have.
        ParseError: it is no gzip, or is broken off.
    """
    unpacker = zlib.decompressobj(GZIP)
    try:
        plain = unpacker.decompress(body, MOST_BYTES + 1)
    except zlib.error as error:
        raise exceptions.ParseError("The body is no gzip.") from error
    if len(plain) > MOST_BYTES:
        raise RequestDataTooBig
    if not unpacker.eof:
        raise exceptions.ParseError("The gzip breaks off.")
    if unpacker.unused_data:
        raise exceptions.ParseError("Something follows the gzip.")
    return plain
