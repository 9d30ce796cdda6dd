"""Read the binary manifest of an Android package.

A crafted manifest could keep a complete parser busy for ever, so only the first elements
are read.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from devices.updates.apk.binary import (
    MAX_TEXT_LENGTH,
    NUMBERS,
    REFERENCE,
    STRINGS,
    TEXT,
    MalformedApk,
    StringPool,
    chunks,
)

RESOURCES, ELEMENT = 0x0180, 0x0102  # chunk types
APPLICATION = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+")
ATTRIBUTES = {  # by Android resource id
    0x0101021B: "version_code",
    0x0101021C: "version_name",
    0x0101020C: "minimum_sdk",
    0x01010270: "target_sdk",
    0x01010001: "application_label",
}
TEXTS = ("application_id", "version_name", "application_label")

StringResource = Callable[[int], str | None]  # the text of a resource id, if it is known


@dataclass(frozen=True, slots=True)
class Manifest:
    """Values of an Android manifest. A value is None if the manifest does not have it."""

    application_id: str
    version_name: str | None = None
    version_code: int | None = None
    minimum_sdk: int | None = None
    target_sdk: int | None = None
    application_label: str | None = None


def parse_manifest(data: bytes, string_resource: StringResource) -> Manifest:
    """Return the values of a binary manifest.

    Args:
        string_resource: returns the text of a resource to which the manifest refers.

    Raises:
        MalformedApk: the manifest cannot be read, or has no valid application id.
    """
    try:
        values = _values(data, string_resource)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise MalformedApk("The manifest is truncated.") from error
    if not APPLICATION.fullmatch(values.get("application_id", "")):
        raise MalformedApk("The manifest has no valid application id.")
    if "\x00" in values.get("version_name", ""):
        raise MalformedApk("The version name in the manifest is invalid.")
    if "application_label" in values:
        values["application_label"] = values["application_label"].replace("\x00", "")
    return Manifest(**values)


def _values(data: bytes, string_resource: StringResource) -> dict[str, Any]:
    strings: StringPool | None = None
    numbers: list[int] = []
    values: dict[str, Any] = {}
    for kind, start, size in chunks(data, 8, len(data)):
        if kind == STRINGS and strings is None:
            strings = StringPool(data, start)
        elif kind == RESOURCES:
            count = (size - 8) // 4
            numbers = list(struct.unpack_from(f"<{count}I", data, start + 8))
        elif kind == ELEMENT and strings is not None:
            name = strings[struct.unpack_from("<I", data, start + 20)[0]]
            if name in ("manifest", "uses-sdk", "application"):
                attributes = dict(_attributes(data, start, strings, numbers, string_resource))
                values |= attributes
            if name == "application":
                break  # later elements describe parts of the application
    return values


def _attributes(
    data: bytes,
    start: int,
    strings: StringPool,
    numbers: list[int],
    string_resource: StringResource,
) -> Iterator[tuple[str, Any]]:
    offset, size, count = struct.unpack_from("<HHH", data, start + 24)
    for number in range(min(count, 100)):
        position = start + 16 + offset + number * size
        name, raw, _, _, kind, value = struct.unpack_from("<IIHBBI", data, position + 4)
        field = ATTRIBUTES.get(numbers[name]) if name < len(numbers) else None
        if field is None and strings[name] == "package":
            field = "application_id"
        if field is None:
            continue
        if field in TEXTS and kind == TEXT:
            yield field, strings[raw if raw < len(strings) else value][:MAX_TEXT_LENGTH]
        elif field in TEXTS and kind == REFERENCE:
            if (text := string_resource(value)) is not None:
                yield field, text[:MAX_TEXT_LENGTH]
        elif field not in TEXTS and kind in NUMBERS:
            yield field, value
