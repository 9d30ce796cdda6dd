"""What an Android package says of itself, from its binary manifest. Pure.

The format is that of AOSP's `ResourceTypes.h`. Only the first elements are read, within
bounds that no file can widen: whoever uploads may have been given anything. (Libraries
that read the whole of it can be made to go on for ever, and a directory of a million
entries fills the memory.)
"""

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

MANIFEST = "AndroidManifest.xml"
LARGEST_MANIFEST = 1 << 20  # bytes
LARGEST_DIRECTORY = 32 << 20  # bytes, of the archive's own
MOST_ENTRIES = 65_535  # without the extension for more (APPNOTE 4.4.22)
LARGEST_END = 22 + 65_535  # bytes: the end record with its comment
MOST_CHUNKS = 5_000
LONGEST_TEXT = 255
STRINGS, RESOURCES, ELEMENT = 0x0001, 0x0180, 0x0102  # kinds of chunks
UTF_8 = 0x100
TEXT, NUMBERS = 0x03, (0x10, 0x11)  # kinds of values
BEGINNING, END = b"PK\x03\x04", b"PK\x05\x06"
ZIP64 = b"PK\x06\x07"  # where the end record of more entries is (APPNOTE 4.3.15)
APPLICATION = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+")
NAMED = {  # attributes by the number that Android gives them
    0x0101021B: "version_code",
    0x0101021C: "version_name",
    0x0101020C: "minimum_sdk",
    0x01010270: "target_sdk",
}


class NoApk(ValueError):
    """It calls itself an Android package, and cannot be read as one."""


@dataclass(frozen=True, slots=True)
class ApkManifest:
    """Numbers are those of Android; None where the manifest does not say."""

    application_id: str
    version_name: str | None = None
    version_code: int | None = None
    minimum_sdk: int | None = None
    target_sdk: int | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def facts(path: str) -> ApkManifest | None:
    """The facts of the file at a path; None if it is no Android package.

    Raises:
        NoApk: it has a manifest that cannot be read.
    """
    if not _is_archive(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(MANIFEST)
            # Other ways of packing unfold without bounds, and no Android knows them.
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise NoApk("The manifest is packed in a way that no Android knows.")
            with archive.open(entry) as file:
                manifest = file.read(LARGEST_MANIFEST + 1)
    except KeyError:
        return None  # an archive of something else
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise NoApk("The archive is damaged, or not all of it is here.") from error
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise NoApk("The manifest cannot be unpacked.") from error
    if len(manifest) > LARGEST_MANIFEST:
        raise NoApk("The manifest is too large.")
    try:
        return _facts(manifest)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise NoApk("The manifest breaks off.") from error


def _is_archive(path: str) -> bool:
    """Whether it begins as one.

    Raises:
        NoApk: its end is not there, or its directory is larger than any package's.
    """
    with open(path, "rb") as file:
        if file.read(len(BEGINNING)) != BEGINNING:
            return False
        size = file.seek(0, 2)
        file.seek(max(0, size - LARGEST_END))
        tail = file.read()
    place = tail.rfind(END)
    if place < 0 or len(tail) - place < 22:
        raise NoApk("The archive is damaged, or not all of it is here.")
    entries, directory = struct.unpack_from("<HI", tail, place + 10)
    if tail[max(0, place - 20) : place].startswith(ZIP64):
        raise NoApk("The archive has too many entries.")
    if entries >= MOST_ENTRIES or directory > LARGEST_DIRECTORY:
        raise NoApk("The archive has too many entries.")
    return True


def _facts(data: bytes) -> ApkManifest:
    strings: _Strings | None = None
    numbers: list[int] = []
    found: dict[str, Any] = {}
    for kind, start, size in _chunks(data):
        if kind == STRINGS and strings is None:
            strings = _Strings(data, start)
        elif kind == RESOURCES:
            count = (size - 8) // 4
            numbers = list(struct.unpack_from(f"<{count}I", data, start + 8))
        elif kind == ELEMENT and strings is not None:
            name = strings[struct.unpack_from("<I", data, start + 20)[0]]
            if name in ("manifest", "uses-sdk"):
                found |= dict(_attributes(data, start, strings, numbers))
            elif name == "application":
                break  # what comes after it says nothing of the whole
    if not APPLICATION.fullmatch(found.get("application_id", "")):
        raise NoApk("The manifest names no application.")
    if "\x00" in found.get("version_name", ""):
        raise NoApk("The manifest's version is none.")
    return ApkManifest(**found)


def _chunks(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The chunks of the document: kind, place, size."""
    place = 8
    for _ in range(MOST_CHUNKS):
        if place + 8 > len(data):
            return
        kind, _, size = struct.unpack_from("<HHI", data, place)
        if size < 8 or place + size > len(data):
            raise NoApk("The manifest is damaged.")
        yield kind, place, size
        place += size


def _attributes(
    data: bytes, start: int, strings: "_Strings", numbers: list[int]
) -> Iterator[tuple[str, Any]]:
    offset, size, count = struct.unpack_from("<HHH", data, start + 24)
    for number in range(min(count, 100)):
        place = start + 16 + offset + number * size
        name, raw, _, _, kind, value = struct.unpack_from("<IIHBBI", data, place + 4)
        known = NAMED.get(numbers[name]) if name < len(numbers) else None
        if known is None and strings[name] == "package":
            known = "application_id"
        is_text = known in ("application_id", "version_name")
        if known is not None and kind == TEXT and is_text:
            yield known, strings[raw if raw < len(strings) else value][:LONGEST_TEXT]
        elif known is not None and kind in NUMBERS and not is_text:
            yield known, value


class _Strings:
    """The string pool: read where it is asked for."""

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
        place = self._base + offset
        if self._is_utf8:
            _, place = self._length(place, 1)
            size, place = self._length(place, 1)
            return self._data[place : place + min(size, 4 * LONGEST_TEXT)].decode(
                errors="replace"
            )
        size, place = self._length(place, 2)
        return self._data[place : place + 2 * min(size, LONGEST_TEXT)].decode(
            "utf-16-le", errors="replace"
        )

    def _length(self, place: int, width: int) -> tuple[int, int]:
        """A length of one or two units; the first's highest bit says which."""
        form, top = ("<B", 0x80) if width == 1 else ("<H", 0x8000)
        first: int = struct.unpack_from(form, self._data, place)[0]
        if not first & top:
            return first, place + width
        second: int = struct.unpack_from(form, self._data, place + width)[0]
        return (first & (top - 1)) << (8 * width) | second, place + 2 * width
