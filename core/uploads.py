"""Receive uploaded files that are too large for memory, up to a maximum size.

The project's web server calls the view twice. The first call has no body, only an
`AdmissionRequest`. The view checks permission and size, and returns `admission_response`
or an error. If the upload is admitted, the server writes the body to a file, computes its
hash, and calls the view again with an `UploadedFile`. So only permitted uploads use disk
space, and no thread waits for a slow sender. Under any other web server, the view reads
the body itself.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

ENVIRON_KEY = "provisioning.upload"  # WSGI environ key; no header can have this name
ADMITTED_HEADER = "X-Upload-Admitted"  # response header: maximum size in bytes, and owner
CHUNK = 1 << 20  # bytes
RESERVED_SPACE = 500_000_000  # bytes of disk space that uploads must leave free


class TooLarge(Exception):
    """The body is larger than the maximum size."""


class LengthUnknown(Exception):
    """The request declares no length, so an interrupted upload could not be detected."""


class InsufficientDiskSpace(Exception):
    """There is not enough disk space."""


class IncompleteUpload(Exception):
    """The body is shorter than its declared length."""


@dataclass(frozen=True, slots=True)
class AdmissionRequest:
    """The question whether the view accepts an upload, asked before the body is read."""

    length: int | None  # bytes, as declared by the client


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A complete uploaded file. It is deleted at the end of the request."""

    path: str
    size: int  # bytes
    sha256: str  # hexadecimal, as the others
    sha1: str
    md5: str


def file_hashes() -> dict[str, Any]:
    """Return new hash objects of `hashlib` by the names of the fields of `UploadedFile`.

    SHA-1 and MD5 protect nothing. Clients of other update servers compare them after a download.
    """
    return {
        "sha256": hashlib.sha256(),
        "sha1": hashlib.sha1(usedforsecurity=False),
        "md5": hashlib.md5(usedforsecurity=False),
    }


class UploadWriter:
    """Writes a request body to a temporary file, chunk by chunk.

    Args:
        most: maximum size in bytes.
    """

    def __init__(self, most: int) -> None:
        folder = Path(settings.UPLOADS_ROOT)
        folder.mkdir(parents=True, exist_ok=True)
        self._max_size, self.size = most, 0
        self._hashes = file_hashes()
        descriptor, self.path = tempfile.mkstemp(prefix="upload-", dir=folder)
        self._file = os.fdopen(descriptor, "wb")

    def write(self, data: bytes) -> None:
        """Append a chunk.

        Raises:
            TooLarge: the body exceeds the maximum size.
        """
        self.size += len(data)
        if self.size > self._max_size:
            raise TooLarge
        for digest in self._hashes.values():
            digest.update(data)
        self._file.write(data)

    def finish(self) -> UploadedFile:
        self._file.flush()
        os.fsync(self._file.fileno())  # the file must be durable before it is reported
        self._file.close()
        hashes = {name: digest.hexdigest() for name, digest in self._hashes.items()}
        return UploadedFile(self.path, self.size, **hashes)

    def remove(self) -> None:
        """Delete the temporary file, unless it was moved."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        with suppress(OSError):  # buffered data may not fit on the disk; it is not needed
            self._file.close()


def declared_length(request: HttpRequest) -> int | None:
    """Return the declared length of the body in bytes, or None."""
    upload = request.META.get(ENVIRON_KEY)
    if isinstance(upload, AdmissionRequest):
        return upload.length
    header = str(request.META.get("CONTENT_LENGTH") or "")
    return int(header) if header.isdecimal() else None


@contextmanager
def receive_upload(request: HttpRequest, *, most: int) -> Iterator[UploadedFile | None]:
    """Yield the request body as an `UploadedFile`.

    Yield None for an `AdmissionRequest`. The view then returns `admission_response`.

    Args:
        most: maximum size in bytes.

    Raises:
        LengthUnknown, TooLarge, InsufficientDiskSpace, IncompleteUpload: the upload is
            refused, and no file is kept.
    """
    upload = request.META.get(ENVIRON_KEY)
    length = declared_length(request)
    if length is None and not isinstance(upload, UploadedFile):
        raise LengthUnknown
    if length is not None and length > most:
        raise TooLarge
    if not isinstance(upload, UploadedFile) and _free_space() < (length or 0):
        raise InsufficientDiskSpace
    if isinstance(upload, AdmissionRequest):
        yield None
    elif isinstance(upload, UploadedFile):
        yield upload
    else:
        spool = UploadWriter(most)
        try:
            while chunk := request.read(CHUNK):
                spool.write(chunk)
            if spool.size < (length or 0):
                raise IncompleteUpload
            yield spool.finish()
        finally:
            spool.remove()


def admission_response(most: int, *, owner: object) -> HttpResponse:
    """Return the response that accepts an upload of at most `most` bytes.

    Args:
        owner: whose share of the simultaneous uploads the upload takes, such as a tenant's id.
    """
    return HttpResponse(status=202, headers={ADMITTED_HEADER: f"{most} {owner}"})


def _free_space() -> int:
    """Return the disk space available to uploads, in bytes."""
    folder = Path(settings.UPLOADS_ROOT)
    folder.mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(folder).free - RESERVED_SPACE


def delete_leftover_files(*, before: datetime) -> int:
    """Delete temporary files of uploads whose process was killed.

    Args:
        before: files last modified before this time are deleted.

    Returns:
        The number of deleted files.
    """
    count = 0
    for path in Path(settings.UPLOADS_ROOT).glob("upload-*"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before.timestamp():
                path.unlink()
                count += 1
    return count
