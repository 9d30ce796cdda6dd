"""How versions are ordered: as PEP 440 or as Semantic Versioning 2.0.0 (§11). Pure."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from packaging.version import InvalidVersion as NotPep440
from packaging.version import Version
from semver import Version as SemanticVersion

PEP_440, SEMANTIC = "pep440", "semver"
CHOICES = ((PEP_440, "PEP 440"), (SEMANTIC, "Semantic Versioning"))
LONGEST = 64

_PARSERS: dict[str, Callable[[str], Any]] = {
    PEP_440: Version,
    SEMANTIC: partial(SemanticVersion.parse, optional_minor_and_patch=False),
}


class NoVersion(ValueError):
    """It is no version in this way of numbering."""


@lru_cache(maxsize=10_000)
def parsed(text: str, versioning: str) -> Any:
    """A version as it is compared with others of its kind.

    Raises:
        NoVersion: it is none.
    """
    if len(text) > LONGEST or text != text.strip():
        raise NoVersion(text)
    try:
        return _PARSERS[versioning](text)
    except (NotPep440, ValueError, TypeError) as error:
        raise NoVersion(text) from error


def compared(one: str, other: str, versioning: str) -> int | None:
    """-1, 0 or 1 as one is before the other, the same, or after it; None: nobody knows.

    Two that differ in what does not count (build metadata, zeros at the end) are the same.
    """
    if one == other:
        return 0
    try:
        first, second = parsed(one, versioning), parsed(other, versioning)
    except NoVersion:
        return None
    if first == second:
        return 0
    return -1 if first < second else 1
