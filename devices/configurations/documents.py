"""Pure functions on configuration documents: hash, merge and compare."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Generic, TypeVar

Document = Mapping[str, Any]
S = TypeVar("S")

EXTRA = "extra"  # the key below which each tenant can define its own keys
EXACT_FLOAT_LIMIT = 2**53  # larger floats do not represent every whole number


def canonical_json(document: Document) -> bytes:
    """Serialise a document as UTF-8 JSON with sorted keys and without whitespace.

    Raises:
        UnicodeEncodeError: the document contains an unpaired surrogate.
    """
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def version_of(document: Document) -> str:
    """Return the SHA-256 of a document in hexadecimal. Equal documents have equal versions."""
    return sha256(canonical_json(document)).hexdigest()


EMPTY_VERSION = version_of({})  # the version if no layer sets a key


def normalise(value: Any) -> Any:
    """Replace whole floats such as 1.0 by integers. JSON does not distinguish 1.0 from 1."""
    if isinstance(value, dict):
        return {name: normalise(item) for name, item in value.items()}
    if isinstance(value, list):
        return [normalise(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT_FLOAT_LIMIT:
        return int(value)
    return value


@dataclass(slots=True)
class MergedDocument(Generic[S]):
    """The result of merging layers: the document, and the layer that set each key.

    A layer that sets a key to null leaves the key to the device. `sources` then contains
    this layer for the key, and `document` does not contain the key. In `sources`, the keys
    below `extra` have the form `extra.name`.
    """

    document: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, S] = field(default_factory=dict)

    @property
    def version(self) -> str:
        return version_of(self.document)


def merge_layers(layers: Iterable[tuple[S, Document]]) -> MergedDocument[S]:
    """Merge documents. Each document overrides the documents before it in `layers`.

    Unlike in RFC 7396, the value of a key is replaced as a whole, because parts of two
    resolutions or schedules cannot be combined. Only the keys below `extra` are merged
    one by one.

    Args:
        layers: pairs of a source and its document, from the weakest to the strongest.
            Sources can have any type.
    """
    merged: MergedDocument[S] = MergedDocument()
    flat: dict[str, Any] = {}
    for source, document in layers:
        if EXTRA in document and document[EXTRA] is None:
            for name in [name for name in flat if name.startswith(f"{EXTRA}.")]:
                flat[name], merged.sources[name] = None, source
        for name, value in flatten(document).items():
            flat[name], merged.sources[name] = value, source
    merged.document = _unflatten(flat)
    return merged


def flatten(document: Document) -> dict[str, Any]:
    """Return the values of a document by key. Keys below `extra` have the form `extra.name`."""
    flat = {name: value for name, value in document.items() if name != EXTRA}
    extra = document.get(EXTRA, {})
    if not isinstance(extra, dict):  # null, or any value that a device reported
        return {**flat, EXTRA: extra}
    return {**flat, **{f"{EXTRA}.{name}": value for name, value in extra.items()}}


def _unflatten(flat: Document) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, value in flat.items():
        if value is None:
            continue
        if name.startswith(f"{EXTRA}."):
            document.setdefault(EXTRA, {})[name.removeprefix(f"{EXTRA}.")] = value
        else:
            document[name] = value
    return document


def json_equal(one: Any, other: Any) -> bool:
    """Return True if two values are equal in JSON. Unlike in Python, `true` differs from 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Difference:
    """A key with different values in two documents.

    `before` and `after` are None for a missing key and for null. `was_set` is True if the
    first document contains the key, and `is_set` if the second document contains the key.
    """

    key: str
    before: Any
    after: Any
    was_set: bool = True
    is_set: bool = True


def differences(before: Document, after: Document) -> list[Difference]:
    """Return the keys in which two documents differ, sorted by key."""
    old, new = flatten(before), flatten(after)
    return [
        Difference(name, old.get(name), new.get(name), name in old, name in new)
        for name in sorted(old.keys() | new.keys())
        if (name in old) != (name in new) or not json_equal(old[name], new[name])
    ]
