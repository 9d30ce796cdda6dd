"""Find the text of a string resource in the resource table of an Android package."""

import struct
from collections.abc import Iterator

from devices.updates.apk.binary import REFERENCE, STRINGS, TEXT, MalformedApk, StringPool, chunks

PACKAGE, TYPE = 0x0200, 0x0201  # chunk types
SPARSE, SHORT_OFFSETS = 0x01, 0x02  # flags of a type chunk
COMPLEX, COMPACT = 0x0001, 0x0008  # flags of an entry
NO_ENTRY = 0xFFFFFFFF
MAX_REFERENCES = 5  # from one resource to another


class ResourceTable:
    """A resource table (`resources.arsc`)."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def text(self, resource_id: int) -> str | None:
        """Return the text of a string resource, in the default language if there is one.

        Returns None if the resource is not known, is no text, or cannot be read.
        """
        try:
            for _ in range(MAX_REFERENCES):
                kind, value = self._value(resource_id)
                if kind == TEXT:
                    return self._strings()[value]
                if kind != REFERENCE:
                    return None
                resource_id = value
        except (struct.error, IndexError, UnicodeDecodeError, MalformedApk):
            return None
        return None

    def _strings(self) -> StringPool:
        for kind, start, _ in self._children(0, len(self._data)):
            if kind == STRINGS:
                return StringPool(self._data, start)
        raise MalformedApk("The resources have no texts.")

    def _value(self, resource_id: int) -> tuple[int | None, int]:
        """Return the type and the value of a resource; the type is None if there is none."""
        found: tuple[int | None, int] = (None, 0)
        for start in self._type_chunks(resource_id):
            value = self._entry(start, resource_id & 0xFFFF)
            if value is None:
                continue
            if self._is_default(start):
                return value
            if found[0] is None:
                found = value
        return found

    def _type_chunks(self, resource_id: int) -> Iterator[int]:
        """Yield the positions of the chunks that have the values of a resource's type."""
        package_id, type_id = resource_id >> 24, (resource_id >> 16) & 0xFF
        for kind, package, size in self._children(0, len(self._data)):
            if kind != PACKAGE or self._number("<I", package + 8) != package_id:
                continue
            for child, start, _ in self._children(package, package + size):
                if child == TYPE and self._data[start + 8] == type_id:
                    yield start

    def _children(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        return chunks(self._data, start + self._number("<H", start + 2), end)

    def _entry(self, start: int, number: int) -> tuple[int, int] | None:
        header = self._number("<H", start + 2)
        flags, count = self._data[start + 9], self._number("<I", start + 12)
        entries = start + self._number("<I", start + 16)
        if number >= count or flags & (SPARSE | SHORT_OFFSETS):
            return None
        offset = self._number("<I", start + header + 4 * number)
        if offset == NO_ENTRY:
            return None
        position = entries + offset
        size, entry_flags = struct.unpack_from("<HH", self._data, position)
        if entry_flags & COMPACT:
            return entry_flags >> 8, self._number("<I", position + 4)
        if entry_flags & COMPLEX:
            return None
        return self._data[position + size + 3], self._number("<I", position + size + 4)

    def _is_default(self, start: int) -> bool:
        """Return True if the values of a type chunk are for all languages and screens."""
        size = self._number("<I", start + 20)
        return not any(self._data[start + 24 : start + 20 + min(size, 64)])

    def _number(self, layout: str, position: int) -> int:
        value: int = struct.unpack_from(layout, self._data, position)[0]
        return value
