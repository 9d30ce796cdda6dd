"""Files that go out, whole or in part (RFC 9110 §14), with a memory that stays flat."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.http import HttpRequest, StreamingHttpResponse

ONE_RANGE = re.compile(r"bytes\s*=\s*(\d{0,19})-(\d{0,19})", re.ASCII)
CHUNK = 1 << 18  # bytes

Chunks = Callable[[int, int], Iterator[bytes]]  # from a byte up to and without another


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A part of a file on this host's disk: from `start` up to and without `end`."""

    path: str
    start: int
    end: int

    def chunks(self) -> Iterator[bytes]:
        with open(self.path, "rb") as file:
            file.seek(self.start)
            left = self.end - self.start
            while left and (data := file.read(min(CHUNK, left))):
                left -= len(data)
                yield data


class LocalFileAnswer(StreamingHttpResponse):
    """An answer that the web server may read from the disk by itself."""

    def __init__(self, local: LocalFile, *, status: int) -> None:
        super().__init__(local.chunks(), status=status)
        self.local = local


class Unsatisfiable(Exception):
    """The range begins beyond the end."""


def answer(
    request: HttpRequest,
    *,
    size: int,
    etag: str,
    content_type: str,
    path: str | None = None,
    chunks: Chunks | None = None,
) -> StreamingHttpResponse:
    """A file, or the one part of it that is asked for.

    Args:
        size: bytes.
        etag: a strong one, with its quotation marks.
        path: where it lies on this host, or
        chunks: how it comes from elsewhere.

    Raises:
        Unsatisfiable: 416 is due, with `Content-Range: bytes */size`.
    """
    asked = part(
        request.headers.get("Range", ""),
        request.headers.get("If-Range", ""),
        size=size,
        etag=etag,
    )
    start, end = asked or (0, size)
    status = 206 if asked else 200
    response: StreamingHttpResponse
    if path is not None:
        response = LocalFileAnswer(LocalFile(path, start, end), status=status)
    else:
        assert chunks is not None
        response = StreamingHttpResponse(chunks(start, end), status=status)
    if asked:
        response["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    response["Content-Type"] = content_type
    response["Content-Length"] = str(end - start)
    response["Accept-Ranges"] = "bytes"
    response["ETag"] = etag
    return response


def part(range_: str, if_range: str, *, size: int, etag: str) -> tuple[int, int] | None:
    """The one part that is asked for; None where everything is, or several parts.

    `If-Range` is compared as a strong validator (RFC 9110 §13.1.5): a device that has
    the beginning of another file gets this one from its beginning.

    Raises:
        Unsatisfiable: it begins beyond the end.
    """
    found = ONE_RANGE.fullmatch(range_.strip())
    if found is None or (if_range and if_range.strip() != etag):
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:  # so many bytes at the end
        if int(last) == 0:
            raise Unsatisfiable
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None  # no range at all (§14.1.1)
    if int(first) >= size:
        raise Unsatisfiable
    return int(first), min(size, int(last) + 1) if last else size
