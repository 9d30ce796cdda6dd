"""Files that come in: larger than what is kept in memory, and no larger than wanted.

The web server asks first: the view is called without the body and says whether it would
take it (`Question`). Then the body is written to a file, hashed on the way, and the view
is called again with what came. Nobody without permission fills a disk, and no thread
waits for a slow sender. Under any other server the view reads the body itself.
"""

import hashlib
import os
import re
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

PATHS = re.compile(
    r"/updates/packages/[0-9a-f-]{36}/file|/admin/updates/softwareupdate/[0-9a-f-]{36}/file/"
)
ENVIRON = "provisioning.upload"  # of WSGI: no header can be called that
ADMITTED = "X-Upload-Admitted"  # so many bytes
CHUNK = 1 << 20  # bytes
KEPT_FREE = 500_000_000  # bytes of the disk that no upload takes


class TooLarge(Exception):
    """More came than is taken."""


class LengthUnknown(Exception):
    """Who does not say how long it is could break off, and nobody would see it."""


class NoRoom(Exception):
    """The disk is nearly full."""


class BrokenOff(Exception):
    """Less came than was said."""


@dataclass(frozen=True, slots=True)
class Question:
    """Would it be taken? `length` is what the sender says, if it does."""

    length: int | None


@dataclass(frozen=True, slots=True)
class Spooled:
    """A file that has come whole; it is removed when the request is over."""

    path: str
    size: int  # bytes
    sha256: str  # hexadecimal


class Spool:
    """Takes a body in pieces.

    Raises:
        TooLarge: from `write`.
    """

    def __init__(self, most: int) -> None:
        folder = Path(settings.UPLOADS_ROOT)
        folder.mkdir(parents=True, exist_ok=True)
        self._most, self.size = most, 0
        self._digest = hashlib.sha256()
        number, self.path = tempfile.mkstemp(prefix="upload-", dir=folder)
        self._file = os.fdopen(number, "wb")

    def write(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self._most:
            raise TooLarge
        self._digest.update(data)
        self._file.write(data)

    def finish(self) -> Spooled:
        self._file.flush()
        os.fsync(self._file.fileno())  # before anybody is told that it is here
        self._file.close()
        return Spooled(self.path, self.size, self._digest.hexdigest())

    def remove(self) -> None:
        """What was moved away meanwhile is not here any more."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        with suppress(OSError):  # what is still to be written has no room, and no use
            self._file.close()


def said_length(request: HttpRequest) -> int | None:
    """How long the sender says that the body is; None where it does not."""
    asked: Any = request.META.get(ENVIRON)
    if isinstance(asked, Question):
        return asked.length
    said = str(request.META.get("CONTENT_LENGTH") or "")
    return int(said) if said.isdecimal() else None


@contextmanager
def received(request: HttpRequest, *, most: int) -> Iterator[Spooled | None]:
    """The body as a file; None when the server only asks: then answer `admitted`.

    Raises:
        LengthUnknown, TooLarge, NoRoom, BrokenOff: nothing is kept.
    """
    given: Any = request.META.get(ENVIRON)
    length = said_length(request)
    if length is None and not isinstance(given, Spooled):
        raise LengthUnknown
    if length is not None and length > most:
        raise TooLarge
    if not isinstance(given, Spooled) and _room() < (length or 0):
        raise NoRoom
    if isinstance(given, Question):
        yield None
    elif isinstance(given, Spooled):
        yield given
    else:
        spool = Spool(most)
        try:
            while chunk := request.read(CHUNK):
                spool.write(chunk)
            if spool.size < (length or 0):
                raise BrokenOff
            yield spool.finish()
        finally:
            spool.remove()


def admitted(most: int) -> HttpResponse:
    """Say that so many bytes would be taken."""
    return HttpResponse(status=202, headers={ADMITTED: str(most)})


def _room() -> int:
    """How many bytes the disk still takes, but for what others need."""
    folder = Path(settings.UPLOADS_ROOT)
    folder.mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(folder).free - KEPT_FREE


def drop_left(*, before: datetime) -> int:
    """Remove what somebody left behind who was killed while a file came in; how many."""
    dropped = 0
    for path in Path(settings.UPLOADS_ROOT).glob("upload-*"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before.timestamp():
                path.unlink()
                dropped += 1
    return dropped
