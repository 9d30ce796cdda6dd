"""Store package files on the disk or in S3-compatible object storage."""

import os
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from botocore.exceptions import ClientError
from django.core.files import File
from django.core.files.storage import storages

from core.downloads import CHUNK
from core.uploads import UploadedFile


class _Movable(File):  # type: ignore[type-arg] # not generic at run time
    """An uploaded file that Django's `FileSystemStorage` moves instead of copying."""

    def temporary_file_path(self) -> str:
        return str(self.name)


def store(package_id: UUID, spooled: UploadedFile) -> str:
    """Store an uploaded file under a unique name. Return that name."""
    name = f"{package_id}-{uuid4()}"
    with open(spooled.path, "rb") as file:
        stored = str(_storage().save(name, _Movable(file, spooled.path)))
    if (path := local_path(stored)) is not None:
        _sync(os.path.dirname(path))  # before a row refers to the file
    return stored


def delete(name: str) -> None:
    if name:
        _storage().delete(name)


def size_of(name: str) -> int | None:
    """Return the size of a stored file in bytes; None if it does not exist."""
    if not name:
        return None
    try:
        return int(_storage().size(name))
    except FileNotFoundError:
        return None
    except ClientError as error:  # raised for S3
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return None
        raise


def local_path(name: str) -> str | None:
    """Return the path of a stored file; None if it is in object storage."""
    try:
        return str(_storage().path(name))
    except NotImplementedError:
        return None


def read_range(name: str, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes of a stored file from `start` to `end` (exclusive)."""
    if start >= end:
        return
    with _storage().open(name) as file:
        stored = getattr(file, "obj", None)
        if stored is not None:  # S3: request the range only
            body = stored.get(Range=f"bytes={start}-{end - 1}")["Body"]
            yield from body.iter_chunks(CHUNK)
            return
        file.seek(start)
        remaining = end - start
        while remaining and (data := file.read(min(CHUNK, remaining))):
            remaining -= len(data)
            yield data


def names_stored_before(moment: datetime) -> Iterator[str]:
    """Yield the names of the files that were stored before the given time."""
    storage = _storage()
    try:
        _, names = storage.listdir("")
    except FileNotFoundError:
        return
    for name in names:
        if storage.get_modified_time(name) < moment:
            yield name


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _storage() -> Any:
    return storages["packages"]
