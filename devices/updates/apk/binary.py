"""Read the chunks and strings of Android's binary resource files (AOSP's `ResourceTypes.h`).

Uploaded files are not trusted, so everything is read within fixed limits.
"""

import struct
from collections.abc import Iterator

MAX_CHUNKS = 5_000
MAX_TEXT_LENGTH = 255
STRINGS = 0x0001  # chunk type of a string pool
TEXT, REFERENCE, NUMBERS = 0x03, 0x01, (0x10, 0x11)  # value types
UTF_8 = 0x100


class MalformedApk(ValueError):
    """The file is not a readable Android package."""


def chunks(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the type, position and size of each chunk between two positions.

    Raises:
        MalformedApk: a chunk is longer than the data.
    """
    position = start
    for _ in range(MAX_CHUNKS):
        if position + 8 > end:
            return
        kind, _, size = struct.unpack_from("<HHI", data, position)
        if size < 8 or position + size > end:
            raise MalformedApk("The manifest is damaged.")
        yield kind, position, size
        position += size


class StringPool:
    """A string pool. Strings are read on access."""

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
