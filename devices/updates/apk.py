"""Read the binary manifest of an Android package (AOSP's `ResourceTypes.h`).

Uploaded files are not trusted, so only the first elements are read, within fixed limits.
A crafted manifest could keep a complete parser busy for ever, and an archive directory
with a million entries could fill the memory.
"""

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

MANIFEST = "AndroidManifest.xml"
MAX_MANIFEST_SIZE = 1 << 20  # bytes
MAX_DIRECTORY_SIZE = 32 << 20  # bytes
MAX_ENTRIES = 65_535  # maximum without the ZIP64 extension (APPNOTE 4.4.22)
MAX_END_RECORD_SIZE = 22 + 65_535  # bytes of the end record and its comment
MAX_CHUNKS = 5_000
MAX_TEXT_LENGTH = 255
STRINGS, RESOURCES, ELEMENT = 0x0001, 0x0180, 0x0102  # chunk types
UTF_8 = 0x100
TEXT, NUMBERS = 0x03, (0x10, 0x11)  # value types
LOCAL_HEADER, END_RECORD = b"PK\x03\x04", b"PK\x05\x06"
ZIP64 = b"PK\x06\x07"  # signature of the ZIP64 end record locator (APPNOTE 4.3.15)
APPLICATION = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+")
ATTRIBUTES = {  # by Android resource id
    0x0101021B: "version_code",
    0x0101021C: "version_name",
    0x0101020C: "minimum_sdk",
    0x01010270: "target_sdk",
}


class MalformedApk(ValueError):
    """The file is an archive, but its Android manifest cannot be read."""


@dataclass(frozen=True, slots=True)
class ApkManifest:
    """Values of an Android manifest. A value is None if the manifest does not have it."""

    application_id: str
    version_name: str | None = None
    version_code: int | None = None
    minimum_sdk: int | None = None
    target_sdk: int | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def read_manifest(path: str) -> ApkManifest | None:
    """Return the manifest of an Android package; None if the file is no Android package.

    Raises:
        MalformedApk: the archive or its manifest cannot be read.
    """
    if not _is_archive(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(MANIFEST)
            # Android supports only these methods. Others are decompressed without a size limit.
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise MalformedApk("The compression method of the manifest is not supported.")
            with archive.open(entry) as file:
                manifest = file.read(MAX_MANIFEST_SIZE + 1)
    except MalformedApk:
        raise  # also a ValueError, but with a more precise message than below
    except KeyError:
        return None  # another kind of archive
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise MalformedApk("The archive is damaged or incomplete.") from error
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise MalformedApk("The manifest cannot be decompressed.") from error
    if len(manifest) > MAX_MANIFEST_SIZE:
        raise MalformedApk("The manifest is too large.")
    try:
        return _parse_manifest(manifest)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise MalformedApk("The manifest is truncated.") from error


def _is_archive(path: str) -> bool:
    """Return True if the file starts like a ZIP archive.

    Raises:
        MalformedApk: the end record of the archive is missing, or its directory is too large.
    """
    with open(path, "rb") as file:
        if file.read(len(LOCAL_HEADER)) != LOCAL_HEADER:
            return False
        size = file.seek(0, 2)
        file.seek(max(0, size - MAX_END_RECORD_SIZE))
        tail = file.read()
    position = tail.rfind(END_RECORD)
    if position < 0 or len(tail) - position < 22:
        raise MalformedApk("The archive is damaged or incomplete.")
    entries, directory = struct.unpack_from("<HI", tail, position + 10)
    if tail[max(0, position - 20) : position].startswith(ZIP64):
        raise MalformedApk("The archive has too many entries.")
    if entries >= MAX_ENTRIES or directory > MAX_DIRECTORY_SIZE:
        raise MalformedApk("The archive has too many entries.")
    return True


def _parse_manifest(data: bytes) -> ApkManifest:
    strings: _Strings | None = None
    numbers: list[int] = []
    values: dict[str, Any] = {}
    for kind, start, size in _chunks(data):
        if kind == STRINGS and strings is None:
            strings = _Strings(data, start)
        elif kind == RESOURCES:
            count = (size - 8) // 4
            numbers = list(struct.unpack_from(f"<{count}I", data, start + 8))
        elif kind == ELEMENT and strings is not None:
            name = strings[struct.unpack_from("<I", data, start + 20)[0]]
            if name in ("manifest", "uses-sdk"):
                values |= dict(_attributes(data, start, strings, numbers))
            elif name == "application":
                break  # later elements describe parts of the application
    if not APPLICATION.fullmatch(values.get("application_id", "")):
        raise MalformedApk("The manifest has no valid application id.")
    if "\x00" in values.get("version_name", ""):
        raise MalformedApk("The version name in the manifest is invalid.")
    return ApkManifest(**values)


def _chunks(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the type, position and size of each chunk of a binary XML document."""
    position = 8
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(data):
            return
        kind, _, size = struct.unpack_from("<HHI", data, position)
        if size < 8 or position + size > len(data):
            raise MalformedApk("The manifest is damaged.")
        yield kind, position, size
        position += size


def _attributes(
    data: bytes, start: int, strings: "_Strings", numbers: list[int]
) -> Iterator[tuple[str, Any]]:
    offset, size, count = struct.unpack_from("<HHH", data, start + 24)
    for number in range(min(count, 100)):
        position = start + 16 + offset + number * size
        name, raw, _, _, kind, value = struct.unpack_from("<IIHBBI", data, position + 4)
        field = ATTRIBUTES.get(numbers[name]) if name < len(numbers) else None
        if field is None and strings[name] == "package":
            field = "application_id"
        is_text = field in ("application_id", "version_name")
        if field is not None and kind == TEXT and is_text:
            yield field, strings[raw if raw < len(strings) else value][:MAX_TEXT_LENGTH]
        elif field is not None and kind in NUMBERS and not is_text:
            yield field, value


class _Strings:
    """The string pool of a manifest. Strings are read on access."""

    def __init__(self, data: bytes, start: int) -> None:
        count: int
        count, _, flags, strings = struct.unpack_from("<IIII", data, start + 8)
        self._data, self._start, self._count = data, start, count
        self._base, self._is_utf8 = start + strings, bool(flags & UTF_8)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> str:
        if number >= self._count:
            return ""
        offset = struct.unpack_from("<I", self._data, self._start + 28 + number * 4)[0]
        position = self._base + offset
        if self._is_utf8:
            _, position = self._length(position, 1)
            size, position = self._length(position, 1)
            return self._data[position : position + min(size, 4 * MAX_TEXT_LENGTH)].decode(
                errors="replace"
            )
        size, position = self._length(position, 2)
        return self._data[position : position + 2 * min(size, MAX_TEXT_LENGTH)].decode(
            "utf-16-le", errors="replace"
        )

    def _length(self, position: int, width: int) -> tuple[int, int]:
        """Return the length of a string at a position, and the position after the length.

        A length has one or two units. If it has two, the highest bit of the first unit is set.
        """
        unit, top = ("<B", 0x80) if width == 1 else ("<H", 0x8000)
        first = struct.unpack_from(unit, self._data, position)[0]
        if not first & top:
            return first, position + width
        second = struct.unpack_from(unit, self._data, position + width)[0]
        return (first & (top - 1)) << (8 * width) | second, position + 2 * width
