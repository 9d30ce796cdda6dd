"""Configuration documents: their version, their layers, their differences. Pure."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Generic, TypeVar

Document = Mapping[str, Any]
S = TypeVar("S")

OPEN = "extra"  # the key under which each tenant has keys of its own
EXACT = 2**53  # beyond it a float says no whole number for certain


def canonical(document: Document) -> bytes:
    """The one way to write a document down, in UTF-8: keys in order and no blanks.

    Raises:
        UnicodeEncodeError: it holds half of a character.
    """
    text = json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return text.encode()


def version_of(document: Document) -> str:
    """The hash of what a document says; two that say the same have the same version."""
    return sha256(canonical(document)).hexdigest()


NOTHING = version_of({})  # of a device for which no layer says anything


def normalised(value: Any) -> Any:
    """The same with 1.0 written as 1, which JSON does not tell apart."""
    if isinstance(value, dict):
        return {name: normalised(item) for name, item in value.items()}
    if isinstance(value, list):
        return [normalised(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        return int(value)
    return value


@dataclass(slots=True)
class Effective(Generic[S]):
    """What all layers come to; for every key the layer that has set it.

    `sources` also names who said that a key is left to the device, which `document`
    then has not. Keys under `extra` stand there as `extra.name`.
    """

    document: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, S] = field(default_factory=dict)

    @property
    def version(self) -> str:
        return version_of(self.document)


def layered(layers: Iterable[tuple[S, Document]]) -> Effective[S]:
    """Lay documents over each other, the strongest last (RFC 7396, but see below).

    A key is replaced whole, since half a resolution or half a schedule from elsewhere
    makes no sense; only below `extra` each key is its own.
    """
    effective: Effective[S] = Effective()
    flat: dict[str, Any] = {}
    for source, document in layers:
        if OPEN in document and document[OPEN] is None:
            for name in [name for name in flat if name.startswith(f"{OPEN}.")]:
                flat[name], effective.sources[name] = None, source
        for name, value in flattened(document).items():
            flat[name], effective.sources[name] = value, source
    effective.document = _raised(flat)
    return effective


def flattened(document: Document) -> dict[str, Any]:
    """The keys of a document, those under `extra` as `extra.name`."""
    flat = {name: value for name, value in document.items() if name != OPEN}
    below = document.get(OPEN, {})
    if not isinstance(below, dict):  # null, or what a device calls its own
        return {**flat, OPEN: below}
    return {**flat, **{f"{OPEN}.{name}": value for name, value in below.items()}}


def _raised(flat: Document) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, value in flat.items():
        if value is None:
            continue
        if name.startswith(f"{OPEN}."):
            document.setdefault(OPEN, {})[name.removeprefix(f"{OPEN}.")] = value
        else:
            document[name] = value
    return document


def same(one: Any, other: Any) -> bool:
    """As JSON has it, where true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Difference:
    """A key that two documents say differently; a value that is not said is None."""

    key: str
    before: Any
    after: Any
    was_said: bool = True
    is_said: bool = True


def differences(before: Document, after: Document) -> list[Difference]:
    """The keys that differ, in the order of their names."""
    old, new = flattened(before), flattened(after)
    return [
        Difference(name, old.get(name), new.get(name), name in old, name in new)
        for name in sorted(old.keys() | new.keys())
        if (name in old) != (name in new) or not same(old[name], new[name])
    ]
