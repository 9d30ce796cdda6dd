"""Where the files of packages are: on the disk, or in a store that speaks S3."""

import os
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from botocore.exceptions import ClientError
from django.core.files import File
from django.core.files.storage import storages

from core.downloads import CHUNK
from core.uploads import Spooled


class _Movable(File):
    """A file that a disk may take by moving it."""

    def temporary_file_path(self) -> str:
        return str(self.name)


def keep(package_id: UUID, spooled: Spooled) -> str:
    """Store what has come, under a name that nothing else has; that name."""
    name = f"{package_id}-{uuid4()}"
    with open(spooled.path, "rb") as file:
        stored = str(_storage().save(name, _Movable(file, spooled.path)))
    if (path := local_path(stored)) is not None:
        _sync(os.path.dirname(path))  # before a row says that it is here
    return stored


def drop(name: str) -> None:
    if name:
        _storage().delete(name)


def size_of(name: str) -> int | None:
    """Bytes; None if it is not there."""
    if not name:
        return None
    try:
        return int(_storage().size(name))
    except FileNotFoundError:
        return None
    except ClientError as error:  # of S3
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return None
        raise


def local_path(name: str) -> str | None:
    """Where it lies on this host's disk; None if it does not."""
    try:
        return str(_storage().path(name))
    except NotImplementedError:
        return None


def chunks(name: str, start: int, end: int) -> Iterator[bytes]:
    """The bytes from `start` up to and without `end`, from wherever it is."""
    if start >= end:
        return
    with _storage().open(name) as file:
        stored: Any = getattr(file, "obj", None)
        if stored is not None:  # S3: it sends the part alone
            body = stored.get(Range=f"bytes={start}-{end - 1}")["Body"]
            yield from body.iter_chunks(CHUNK)
            return
        file.seek(start)
        left = end - start
        while left and (data := file.read(min(CHUNK, left))):
            left -= len(data)
            yield data


def stored_before(moment: datetime) -> Iterator[str]:
    """The names of what was stored before a moment."""
    storage = _storage()
    try:
        _, names = storage.listdir("")
    except FileNotFoundError:
        return
    for name in names:
        if storage.get_modified_time(name) < moment:
            yield name


def _sync(folder: str) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _storage() -> Any:
    return storages["packages"]
