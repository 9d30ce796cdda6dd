"""Parse request bodies with samples: plain or gzip-compressed JSON."""

import io
import math
import zlib
from collections.abc import Mapping
from typing import IO, Any

from django.core.exceptions import RequestDataTooBig
from rest_framework import exceptions
from rest_framework.request import Request

from core.limits import Limit
from core.rest.parsers import DeviceJSONParser
from tenants.context import current_caller, current_tenant_id

MAX_BYTES = 8 * 1024 * 1024  # of a body after decompression
SAMPLES, SAMPLES_OF_TENANT = Limit("samples"), Limit("tenant_samples")
BYTES, BYTES_OF_TENANT = Limit("sample_bytes"), Limit("tenant_sample_bytes")
GZIP = 31  # zlib's wbits: the gzip format with the largest window


class SamplesParser(DeviceJSONParser):
    """Parse one sample, a list of samples, or a batch, optionally compressed with gzip."""

    takes = (dict, list)

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        assert parser_context is not None
        body = stream.read()
        require_budget(BYTES, BYTES_OF_TENANT, cost=len(body))  # before it is decompressed
        encoding = _content_encoding(parser_context["request"])
        if encoding == "gzip":
            compressed, body = len(body), _decompress(body)
            require_budget(BYTES, BYTES_OF_TENANT, cost=max(0, len(body) - compressed))
        elif encoding != "identity":
            raise UnknownEncoding(encoding)
        return super().parse(io.BytesIO(body), media_type, parser_context)


def require_budget(of_device: Limit, of_tenant: Limit, *, cost: int) -> None:
    """Count samples or bytes of the calling device and of its tenant.

    Raises:
        Throttled: the device or the tenant has sent too many.
    """
    wait = of_device.spend(current_caller().id, cost)
    wait = wait or of_tenant.spend(str(current_tenant_id()), cost)
    if wait:
        raise exceptions.Throttled(math.ceil(wait))


class UnknownEncoding(exceptions.APIException):
    status_code = 415  # RFC 9110 §8.4
    default_code = "unsupported_encoding"

    def __init__(self, encoding: str) -> None:
        super().__init__(
            f"The content encoding {encoding[:40]!r} is not supported."
            " Use gzip, or send the body uncompressed."
        )


def _content_encoding(request: Request) -> str:
    header = request.headers.get("Content-Encoding", "").strip().lower()
    return {"": "identity", "x-gzip": "gzip"}.get(header, header)


def _decompress(body: bytes) -> bytes:
    """Decompress a gzip body.

    Raises:
        RequestDataTooBig: the decompressed body exceeds `MAX_BYTES`.
        ParseError: the body is not valid gzip, is truncated, or has trailing data.
    """
    decompressor = zlib.decompressobj(GZIP)
    try:
        content = decompressor.decompress(body, MAX_BYTES + 1)
    except zlib.error as error:
        raise exceptions.ParseError("The body is not valid gzip.") from error
    if len(content) > MAX_BYTES:
        raise RequestDataTooBig
    if not decompressor.eof:
        raise exceptions.ParseError("The gzip data is truncated.")
    if decompressor.unused_data:
        raise exceptions.ParseError("The body has data after the end of the gzip data.")
    return content
