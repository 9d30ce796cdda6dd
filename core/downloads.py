"""Stream files to clients, with byte ranges (RFC 9110 §14) and constant memory use."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.http import HttpRequest, StreamingHttpResponse

ONE_RANGE = re.compile(r"bytes\s*=\s*(\d{0,19})-(\d{0,19})", re.ASCII)
CHUNK = 1 << 18  # bytes

# Returns the bytes from a start offset (inclusive) to an end offset (exclusive).
Chunks = Callable[[int, int], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class LocalFile:
    """The bytes of a local file from `start` (inclusive) to `end` (exclusive)."""

    path: str
    start: int
    end: int

    def chunks(self) -> Iterator[bytes]:
        with open(self.path, "rb") as file:
            file.seek(self.start)
            remaining = self.end - self.start
            while remaining and (data := file.read(min(CHUNK, remaining))):
                remaining -= len(data)
                yield data


class LocalFileResponse(StreamingHttpResponse):
    """A response whose file the web server may read from the disk directly."""

    def __init__(self, local: LocalFile, *, status: int) -> None:
        super().__init__(local.chunks(), status=status)
        self.local = local


class RangeNotSatisfiable(Exception):
    """The requested range starts beyond the end of the file."""


def file_response(
    request: HttpRequest,
    *,
    size: int,
    etag: str,
    content_type: str,
    path: str | None = None,
    chunks: Chunks | None = None,
) -> StreamingHttpResponse:
    """Return a response with a whole file (200) or with the requested range of the file (206).

    Args:
        size: size of the file in bytes.
        etag: a strong entity tag, including its quotation marks.
        path: path of the file, if it is on this host.
        chunks: function that reads the file, if it is not on this host.

    Raises:
        RangeNotSatisfiable: the caller must return 416 with `Content-Range: bytes */size`.
    """
    requested = requested_range(
        request.headers.get("Range", ""), request.headers.get("If-Range", ""), size=size, etag=etag
    )
    start, end = requested or (0, size)
    status = 206 if requested else 200
    response: StreamingHttpResponse
    if path is not None:
        response = LocalFileResponse(LocalFile(path, start, end), status=status)
    else:
        assert chunks is not None
        response = StreamingHttpResponse(chunks(start, end), status=status)
    if requested:
        response["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    response["Content-Type"] = content_type
    response["Content-Length"] = str(end - start)
    response["Accept-Ranges"] = "bytes"
    response["ETag"] = etag
    return response


def requested_range(range_: str, if_range: str, *, size: int, etag: str) -> tuple[int, int] | None:
    """Return the single requested byte range as (start, end), where the end is exclusive.

    Return None if the whole file is to be sent. This is the case if the request has no
    range, several ranges or an invalid range, or if `If-Range` does not match. `If-Range`
    is compared as a strong validator (RFC 9110 §13.1.5). So a device that has the beginning
    of another file gets this file from the start.

    Args:
        range_: the `Range` header.
        if_range: the `If-Range` header.
        size: size of the file in bytes.

    Raises:
        RangeNotSatisfiable: the range starts beyond the end of the file.
    """
    match = ONE_RANGE.fullmatch(range_.strip())
    if match is None or (if_range and if_range.strip() != etag):
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:  # a suffix range: the last bytes of the file
        if int(last) == 0:
            raise RangeNotSatisfiable
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None  # an invalid range is ignored (§14.1.1)
    if int(first) >= size:
        raise RangeNotSatisfiable
    return int(first), min(size, int(last) + 1) if last else size
